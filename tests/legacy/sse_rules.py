"""What sse.js 0.6.1 makes of reads: the observed rules of section 3, for each re-creation of it to obey.

A case is a status, the reads, and the events that its listeners get.
"""

DELTA = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'

CASES = {
    "rule 2, created": (201, ["data: 1\n\n"], [("error", "data: 1\n\n")]),
    "rule 2, refused": (403, ["no"], [("error", "no")]),
    "rule 3, one CRLF splits": (
        200,
        ["event: close\r\ndata: close\r\n\r\n"],
        [("close", ""), ("message", "close")],
    ),
    "rule 4, comment": (200, [": ping\n\n"], [("message", "")]),
    "rule 4, retry": (200, ["retry: 10\n\n"], [("message", "")]),
    "rule 4, id": (200, ["id: 4\n\n"], [("message", "")]),
    "rule 4, safe comment": (200, [": ping\n", "data: 1\n\n"], [("message", "1")]),
    "rule 4, safe event": (200, ["event: ping\ndata: 1\n\n", "data: 2\n\n"], [("ping", "1"), ("message", "2")]),
    "rule 5, cut between line ends": (200, ["data: 1\n", "\ndata: 2\n\n"], [("message", "12")]),
    "rule 5, cut elsewhere": (200, ["da", "ta: 1\n\ndat", "a: 2\n\n"], [("message", "1"), ("message", "2")]),
    "rule 6, no space": (200, ["data:1\n\n"], [("message", "1")]),
    "rule 6, several lines": (200, ["data: 1\ndata:2\n\n"], [("message", "12")]),
    "rule 6, line separator": (200, ["data: 1\u20282\n\n"], [("message", "1\u20282")]),
    "rule 7, no blank line": (200, ["data: 1\n\nevent: close\ndata: c"], [("message", "1"), ("close", "c")]),
    "rule 7, no events": (200, ["just text"], [("message", "")]),
    "rule 7, named message": (200, ["event: message\ndata: 1\n\n"], [("message", "1")]),
    "rule 7, error": (200, ["data: 1\n\n", "event: error\ndata: 2\n\n"], [("message", "1"), ("error", "2")]),
}
