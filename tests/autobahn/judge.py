"""Puts the cases of the Autobahn test suite to gateways. In Python 2.7, as the suite is.

The suite wants every message sent back. A gateway answers instead: `unsupported` to bytes, and `bad_request` to a text that is no command.
Here each such answer is handed to the suite as the message that it answers, if one of its kind was due; everything else is handed on
as it came and fails the case. What a gateway says by itself is passed over. Frames, fragments, control frames, text that is not UTF-8
and how connections end are judged by the suite alone; that a message came whole is not asked here.

    judge.py FOLDER NAME=URL...

writes the suite's report into FOLDER and fails if a case does.
"""

import json
import sys

from autobahntestsuite import fuzzing
from autobahntestsuite.case import Case
from twisted.internet import reactor

# Compression, which is never agreed on.
LEFT_OUT = ["12.*", "13.*"]
# What no gateway takes, and how it closes: messages of 4 MiB and more, and a thousand mistakes.
REFUSED = {"9.1.4": 1009, "9.1.5": 1009, "9.1.6": 1009, "9.2.4": 1009, "9.2.5": 1009, "9.2.6": 1009,
           "9.3": 1009, "9.4": 1009, "9.7": 4429, "9.8": 4429}
KINDS = {"bad_request": False, "unsupported": True}
GOOD = (Case.OK, Case.NON_STRICT, Case.INFORMATIONAL)
Client = fuzzing.FuzzingClientProtocol


class Judge(Client):
    """A client of the suite that takes answers for what they answer."""

    def onMessage(self, said, is_binary):
        event = json.loads(said)
        if event["type"] == "connection_established":
            return
        binary = KINDS.get(event["data"]["code"]) if event["type"] == "error" else None
        answered = said if binary is None else self.due(binary)
        Client.onMessage(self, said if answered is None else answered, bool(binary))

    def due(self, binary):
        """The next message that this case expects, if it is of this kind."""
        case = self.runCase
        if not case.expected:
            length = getattr(case, "DATALEN", getattr(case, "LEN", None))
            return None if length is None else " " * length
        expected = [event for event in case.expected[Case.OK] if event[0] == "message"]
        answered = len([event for event in case.received if event[0] == "message"])
        is_due = answered < len(expected) and expected[answered][2] == binary
        return expected[answered][1] if is_due else None


def verdict(case, result):
    """In a word, how a case ended."""
    code = REFUSED.get(case, REFUSED.get(case.rsplit(".", 1)[0]))
    if code is not None:
        return "refused" if result["remoteCloseCode"] == code else "not refused"
    good = result["behavior"] in GOOD and result["behaviorClose"] in GOOD
    return result["behavior"].lower() if good else "failed: %s %s" % (result["result"], result["resultClose"])


def main(folder, servers):
    fuzzing.FuzzingClientProtocol = Judge
    servers = [dict(zip(("agent", "url"), server.split("=", 1))) for server in servers]
    factory = fuzzing.FuzzingClientFactory(
        {"outdir": folder, "servers": servers, "cases": ["*"], "exclude-cases": LEFT_OUT, "exclude-agent-cases": {}})
    reactor.run()
    failed = 0
    for server in servers:
        verdicts = {}
        for case in factory.specCases:
            result = factory.agents.get(server["agent"], {}).get(case)
            word = "failed: it was not run" if result is None else verdict(case, result)
            if word.startswith(("failed", "not refused")):
                failed += 1
                print "%s, %s: %s" % (server["agent"], case, word)
            word = word.split(":")[0]
            verdicts[word] = verdicts.get(word, 0) + 1
        counts = ", ".join("%d %s" % (count, word) for word, count in sorted(verdicts.items()))
        print "%s: %d cases: %s" % (server["agent"], len(factory.specCases), counts)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
