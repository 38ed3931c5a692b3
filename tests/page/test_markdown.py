"""Markdown of a model in a real browser, under the policy of the page: what is shown, what is not, and how fast."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "src" / "dragoman" / "page"
POLICY = "script-src 'self'; style-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
EMPTY = (
    '<!doctype html><html lang="en"><link rel="stylesheet" href="/page/chat.css"><body><dragoman-chat></dragoman-chat>'
)
RENDER = """async (texts) => {
  const { markdownView } = await import("/page/markdown.js");
  const view = markdownView();
  document.querySelector("dragoman-chat").replaceChildren(view.node);
  const begun = performance.now();
  for (const text of texts) view.update(text);
  view.node.getBoundingClientRect();
  window.view = view;
  return performance.now() - begun;
}"""
SOON_MS = 1_000


@pytest.fixture(scope="module")
def page(browser):
    """An empty page with the modules of ours; whatever else it fetches is noted in `page.fetched`."""
    shown = browser.new_page()
    shown.fetched = []

    def serve(route):
        path = route.request.url.partition("page.test")[2]
        file = FOLDER / path.rpartition("/")[2]
        if path == "/":
            route.fulfill(body=EMPTY, content_type="text/html", headers={"content-security-policy": POLICY})
        elif file.suffix in {".js", ".css"}:
            kind = "text/javascript" if file.suffix == ".js" else "text/css"
            route.fulfill(body=file.read_text(encoding="utf-8"), content_type=kind)
        else:
            shown.fetched.append(route.request.url)
            route.abort()

    shown.route("**/*", serve)
    shown.goto("http://page.test/")
    yield shown
    shown.close()


def render(page, *texts):
    """Show the texts one after the other in one view; returns how long it took in ms."""
    return page.evaluate(RENDER, list(texts))


def html(page):
    return page.locator(".markdown").evaluate("node => node.innerHTML")


WRITTEN = {
    "one\ntwo\n\nthree": "<p>one\ntwo</p><p>three</p>",
    "# a\n###### b ##": "<h3>a</h3><h6>b</h6>",
    "#no heading": "<p>#no heading</p>",
    "**b** *i* ***bi***": "<p><strong>b</strong> <em>i</em> <strong><em>bi</em></strong></p>",
    "__b__ _i_ ~~d~~": "<p><strong>b</strong> <em>i</em> <del>d</del></p>",
    "a snake_case_name and 2 * 3 * 4": "<p>a snake_case_name and 2 * 3 * 4</p>",
    "*open and **never closed": "<p>*open and **never closed</p>",
    "**bold *both* bold**": "<p><strong>bold <em>both</em> bold</strong></p>",
    "`a *b* <i>` ``x ` y`` `open": "<p><code>a *b* &lt;i&gt;</code> <code>x ` y</code> `open</p>",
    r"\*not\* \[this\]": "<p>*not* [this]</p>",
    "- a\n- b\n  - c\n\n    more\n- d": (
        "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p><p>more</p></li></ul></li><li><p>d</p></li></ul>"
    ),
    "3. c\n4. d": '<ol start="3"><li><p>c</p></li><li><p>d</p></li></ol>',
    "> a\n> > b": "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>",
    "a\n\n---\n***": "<p>a</p><hr><hr>",
    "text\n- item\nlazy": "<p>text</p><ul><li><p>item\nlazy</p></li></ul>",
    "text\n2. no item": "<p>text\n2. no item</p>",
    "<b>x</b> &amp; <!-- c -->": "<p>&lt;b&gt;x&lt;/b&gt; &amp;amp; &lt;!-- c --&gt;</p>",
}


def test_what_is_written_is_shown(page):
    said = page.evaluate(
        """async (texts) => {
          const { markdownView } = await import("/page/markdown.js");
          return texts.map((text) => {
            const view = markdownView();
            view.update(text);
            return view.node.innerHTML;
          });
        }""",
        list(WRITTEN),
    )
    assert dict(zip(WRITTEN, said, strict=True)) == WRITTEN


def test_a_block_of_code_has_its_language_and_is_what_was_written(page):
    render(page, "```py\nif a:\n    b = '<i>' # *x*\n\n```\nafter\n\n~~~\n```\nopen")
    blocks = page.locator(".code-block")
    assert blocks.locator("code").all_text_contents() == ["if a:\n    b = '<i>' # *x*\n", "```\nopen"]
    assert blocks.locator(".code-head span").all_inner_texts() == ["py", "text"]
    assert page.locator(".markdown > p").inner_text() == "after"


def test_a_table_has_its_columns(page):
    render(page, "Here:\n| a | b |\n|:-:|--:|\n| `1` | x \\| y |\n| short |\n\nafter")
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("tr").all()]
    assert rows == [["a", "b"], ["1", "x | y"], ["short", ""]]
    assert page.locator("th").evaluate_all("cells => cells.map((cell) => cell.className)") == ["middle", "end"]


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("[a](https://a.test/x_(y)) and https://b.test/c.", ["https://a.test/x_(y)", "https://b.test/c"]),
        ('<mailto:a@b.test> [t](<https://a.test> "title")', ["mailto:a@b.test", "https://a.test/"]),
        ("[a](javascript:alert(1)) <javascript:alert(1)> [b](JaVaScRiPt:x)", []),
        ("[a](java\tscript:alert(1)) [b](data:text/html,x) [c](file:///etc/passwd) [d](//a.test) [e](/x)", []),
        ("[a [b](https://b.test) c](https://c.test)", ["https://c.test/"]),
    ],
)
def test_only_links_to_the_web_and_to_mail_are_links(page, text, addresses):
    render(page, text)
    links = page.locator(".markdown a")
    assert links.evaluate_all("links => links.map((link) => link.href)") == addresses
    for link in links.all():
        assert link.get_attribute("title") == link.evaluate("link => link.href")
        assert (link.get_attribute("rel"), link.get_attribute("target")) == ("noopener noreferrer nofollow", "_blank")
    if not addresses:
        assert page.locator(".markdown").inner_text().split() == text.split()


def test_a_picture_is_a_link_and_is_not_fetched(page):
    render(page, "![what it shows](https://a.test/seen.png) <img src=/seen.png>")
    assert page.locator(".markdown a").inner_text() == "Image: what it shows"
    assert page.locator(".markdown img").count() == 0
    assert page.fetched == []


def test_what_turns_the_direction_is_named_and_half_a_surrogate_is_replaced(page):
    page.evaluate(RENDER, ["pay \u202eevil\u202c `\u2066x` ok"])
    assert page.locator(".bidi").all_inner_texts() == ["U+202E", "U+202C", "U+2066"]
    assert page.locator(".markdown").inner_text().find("\u202e") < 0
    page.evaluate(f'() => ({RENDER})(["a \\ud800 b"])')
    assert page.locator(".markdown").inner_text() == "a \ufffd b"


def test_blocks_that_are_done_are_not_made_again(page):
    text = "# First\n\n- a\n- b\n\nlast **bo"
    render(page, text)
    page.evaluate("() => { for (const node of view.node.children) node.isOld = true; }")
    page.evaluate("text => view.update(text)", text + "ld**\n\nnew")
    assert page.evaluate("[...view.node.children].map((node) => Boolean(node.isOld))") == [True, True, False, False]
    assert page.locator(".markdown strong").inner_text() == "bold"


DOCUMENT = "# T\r\n\r\nA *b* c\nd\n\n1. x\n   - y\n\n     z\n2. w\n\n```js\nlet a;\n\n# no\n```\n> q\n> r\n\n|a|b|\n|-|-|\n|1|2|\n\nend"


def test_a_text_that_comes_by_the_letter_ends_as_one_that_came_at_once(page):
    render(page, DOCUMENT)
    whole = html(page)
    render(page, *[DOCUMENT[:end] for end in range(1, len(DOCUMENT) + 1)])
    assert html(page) == whole


HOSTILE = {
    "a line of 1 MB": "x" * 1_000_000,
    "words of 1 MB": "word " * 200_000,
    "asterisks": "*" * 100_000,
    "emphasis that opens": "*a **b " * 25_000,
    "emphasis in words": "a*" * 50_000,
    "underscores": "_a" * 50_000,
    "two marks": "*_" * 50_000,
    "brackets that open": "[" * 100_000,
    "brackets that close": "]" * 100_000,
    "targets that open": "[](" * 50_000,
    "targets of spaces": "[a](" + " " * 500_000,
    "backticks": "`" * 100_000,
    "backticks of all lengths": "".join("`" * (size % 300 + 1) + "a" for size in range(700)),
    "quotes in quotes": ">" * 100_000,
    "lists in lists": "- " * 50_000,
    "lists ever deeper": "\n".join(" " * depth + "- a" for depth in range(1_000)),
    "overrides": "\u202e" * 100_000,
    "pipes": "|" * 100_000 + "\n" + "|-" * 100_000,
    "schemes": "http://" * 20_000,
    "angles": "<http:" * 30_000,
    "spaces": " " * 1_000_000 + "x",
    "hashes": "# " + " #" * 200_000 + "x",
    "rules": "- - - " * 30_000,
    "fences": "```\n" * 5_000,
    "lines": "a\n" * 100_000,
}


def test_no_text_freezes_the_page(page):
    # Each is timed by itself, in a view that is there and laid out.
    times_ms = page.evaluate(
        f"""async (texts) => {{
          const times = {{}};
          for (const [name, text] of Object.entries(texts)) {{
            times[name] = await ({RENDER})([text]);
            if (!view.node.childNodes.length) times[name] = null;
          }}
          return times;
        }}""",
        HOSTILE,
    )
    assert list(times_ms) == list(HOSTILE)
    assert {name: ms for name, ms in times_ms.items() if ms is None or ms > SOON_MS} == {}
