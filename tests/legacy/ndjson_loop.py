"""The client loop of system D's README (section 6.4): each network read is decoded and parsed alone."""

import json

QUESTION = "你好 chatgpt"
REFUSED = [{"done": False, "error": True, "content": "权限不足"}, {"done": True, "error": False, "content": "[DONE]"}]
DONE = {"done": True, "error": False, "content": "[DONE]"}


class Console:
    """A page with the sample pasted into its console. `lines` are what was parsed, `shown` what the body shows."""

    def __init__(self):
        self.messages = []
        self.lines = []
        self.shown = ""

    def say(self, content):
        self.messages.append({"role": "user", "content": content})
        return {"messages": list(self.messages)}

    def hear(self, answer):
        """Be given an answer read by read. Raises where the sample would throw, which kills the chat."""
        self.shown = ""
        for read in answer.reads:
            for line in read.decode().split("\n"):
                if line.strip():
                    self._take(json.loads(line.strip()))
        self.messages.append({"role": "assistant", "content": self.shown})
        return self

    def _take(self, line):
        self.lines.append(line)
        if line["done"]:
            return
        self.shown = line["content"] if line["error"] else self.shown + line["content"]


def chat(
    relay, authorization=None, question=QUESTION, console=None, path="/chat", origin="http://chaoxing.com", **more
):
    """What fetch sends with `mode: cors` and `credentials: include`."""
    console = console or Console()
    headers = {
        "Accept": "*/*",
        "Origin": origin,
        "Referer": f"{origin}/",
        "Sec-Fetch-Mode": "cors",
        "Sec-Fetch-Site": "cross-site",
        "Cookie": "JSESSIONID=0123456789",
    }
    return relay.begin("POST", path, {**console.say(question), **more}, authorization=authorization, **headers)


def heard(answer):
    return Console().hear(answer)
