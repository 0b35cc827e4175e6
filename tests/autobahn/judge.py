"""Puts the cases of the Autobahn test suite to gateways. In Python 2.7, as the suite is.

The suite wants every message sent back. A gateway answers instead: `unsupported` to bytes, and `bad_request` or `too_large` to a text that
is no command.
Here each such answer is handed to the suite as the message that it answers, if one of its kind was due; everything else but the greeting is
handed on as it came and fails the case. The rest is judged by the suite, and more strictly where it takes a connection that was dropped
for one that was failed: each must end with a close, and with a code. That a message came whole is not asked here.

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
CASES = 301
# How else than with OK these may end.
ELSE = {"6.4.3": Case.NON_STRICT, "6.4.4": Case.NON_STRICT, "7.1.6": Case.INFORMATIONAL,
        "7.13.1": Case.INFORMATIONAL, "7.13.2": Case.INFORMATIONAL}
# The client closes without a code, and is answered without one.
NO_CODE = ["7.3.1"]
KINDS = {"bad_request": False, "too_large": False, "unsupported": True}
Client = fuzzing.FuzzingClientProtocol


class Judge(Client):
    """A client of the suite that takes answers for what they answer. What it does not understand breaks the connection."""

    greeted = False
    answers = 0

    def onMessage(self, said, is_binary):
        if is_binary:
            return Client.onMessage(self, said, True)
        event = json.loads(said)
        if not self.greeted:
            self.greeted = event["type"] == "connection_established" or self.fail("no greeting")
            return
        binary = KINDS.get(event["data"]["code"]) if event["type"] == "error" else None
        answered = None if binary is None else self.due(binary)
        Client.onMessage(self, said if answered is None else answered, bool(binary))

    def due(self, binary):
        """The next message that this case expects, if it is of this kind."""
        case = self.runCase
        self.answers += 1
        if not case.expected:
            # Those of section 9 say how long their messages are, and count them where they send more than one.
            if self.answers > getattr(case, "count", 1):
                self.fail("answered twice")
            length = getattr(case, "DATALEN", getattr(case, "LEN", None))
            return None if length is None else " " * length
        expected = [event for event in case.expected[Case.OK] if event[0] == "message"]
        is_due = self.answers <= len(expected) and expected[self.answers - 1][2] == binary
        return expected[self.answers - 1][1] if is_due else None

    def fail(self, why):
        raise ValueError(why)


def verdict(case, result):
    """In a word, how a case ended."""
    code, said = result["remoteCloseCode"], result["rxFrameStats"].get(1, 0)
    if not result["wasClean"] or said == 0 or (code is None and case not in NO_CODE):
        return "failed: it did not end with a close: %s" % result["wasNotCleanReason"]
    good = (Case.OK, ELSE.get(case))
    if result["behavior"] in good and result["behaviorClose"] in good:
        return result["behavior"].lower()
    return "failed: %s: %s %s" % (result["behavior"], result["result"], result["resultClose"])


def main(folder, servers):
    fuzzing.FuzzingClientProtocol = Judge
    servers = [dict(zip(("agent", "url"), server.split("=", 1))) for server in servers]
    factory = fuzzing.FuzzingClientFactory(
        {"outdir": folder, "servers": servers, "cases": ["*"], "exclude-cases": LEFT_OUT, "exclude-agent-cases": {}})
    reactor.run()
    failed = 0 if len(factory.specCases) == CASES else 1
    for server in servers:
        verdicts = {}
        for case in factory.specCases:
            result = factory.agents.get(server["agent"], {}).get(case)
            word = "failed: it was not run" if result is None else verdict(case, result)
            if word.startswith("failed"):
                failed += 1
                print "%s, %s: %s" % (server["agent"], case, word)
            word = word.split(":")[0]
            verdicts[word] = verdicts.get(word, 0) + 1
        counts = ", ".join("%d %s" % (count, word) for word, count in sorted(verdicts.items()))
        print "%s: %d cases: %s" % (server["agent"], len(factory.specCases), counts)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
