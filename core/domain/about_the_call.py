"""What is said to us rather than to the question: say it again, who are you, not now, hello?

Each holds only when it is all that was said: "I said goodbye to a friend" is an answer.
"""

from __future__ import annotations

import re

from core.domain.spoken_words import FILLERS, content_words, words

# A backchannel tells a speaker that one listens; it does not ask for the floor.
_BACKCHANNEL = FILLERS | {"hello", "hi", "hey", "right", "see", "i"}
_GREETING = frozenset(
    ["hello", "hi", "hey", "anybody", "anyone", "there", "are", "you", "still", "good", "morning", "evening", "afternoon"]
)
_GREETING_BEGINS = frozenset(["hello", "hi", "hey", "anybody", "anyone", "are", "good"])


def _whole(*, before: str, after: str, phrases: str) -> re.Pattern[str]:
    """One phrase a line, each a pattern over words without fillers, "the" and "a" being such; manners may stand around it."""
    lines = "|".join(line.strip() for line in phrases.strip().splitlines())
    return re.compile(rf"^(?:(?:{before}) )*(?:{lines})(?: (?:{after}))*$")


_REPEAT = _whole(
    before="i am sorry|sorry|hello|hi|hey|yes|no|excuse me|wait",
    after="again|once more|one more time|sorry|thank you|thanks|now|what",
    phrases=r"""
        what|sorry|huh|pardon(?: me)?|(?:i )?beg your pardon|excuse me|come again
        (?:say )?(?:that )?(?:once )?again|one (?:more )?time|once more|say what
        repeat(?: (?:that|it|question))?
        (?:what|pardon|how) (?:did |do |are )?you (?:just )?(?:say|saying|said|mean|asking|ask)(?: again)?
        what (?:was|is) (?:that|your question|question)(?: again)?
        you said what
        (?:(?:can|could|would|will) you )?(?:repeat|say|ask)(?: me)? (?:that|it|this|your question|question|what you said|again)
        (?:(?:can|could|would|will) you )?(?:speak|talk|say (?:it|that)) (?:up|(?:bit |little )?(?:more )?(?:louder|slower|slowly|clearly|loudly))
        (?:bit |little )?(?:louder|slower)|slow down
        (?:i )?(?:did|could|can|do) not (?:quite |really )?(?:hear|catch|get|understand|follow)(?: (?:that|you|it|question|what you (?:said|say|mean)|anything|word))*
        (?:i )?(?:missed|lost) (?:that|it|you)
        you are breaking up|bad (?:line|connection)|line is (?:very )?bad
    """,
)
_WHO = _whole(
    before="hello|hi|hey|yes|sorry|wait|excuse me|and|can i ask|may i ask|tell me|i asked",
    after="calling|speaking|again|now|people|guys|thank you|thanks|sorry|for|about",
    phrases=r"""
        who (?:is|are|was) (?:this|that|it|you|calling|there|speaking|on (?:phone|line))
        who (?:is |are )?(?:am i )?(?:speaking|talking|calling)(?: (?:to|with))?(?: me)?
        who am i (?:speaking|talking) (?:to|with)
        who calls|who do you work for
        what (?:company|organi[sz]ation) (?:is this|are you (?:with|from))
        what is this(?: call)?(?: about)?|what (?:do|did) you want(?: from me)?|what are you (?:calling|selling)
        why (?:are|do|did) you (?:call|calling)(?: me)?
        where are you calling from|how did you get (?:my|this) (?:phone )?number
        (?:is this|are you|am i (?:talking|speaking) (?:to|with)) (?:an? )?(?:real |human |actual )?(?:robot|machine|computer|recording|person|human|being|real|ai|automated)
    """,
)
_LATER = r"(?:back |again |me )*(?:back|later|another time|some other time|another day|in (?:\w+ ){1,3}(?:minutes?|hours?)|when i am (?:home|free))"
_GOODBYE = _whole(
    before="thank you|thanks|i am sorry|sorry|no|yes|but|all right|right|and|not now|hello|hi|look|now",
    after="thank you|thanks|good ?bye|bye|sorry|later|now|right now|at moment|i am busy|tomorrow",
    phrases=rf"""
        good ?bye|bye(?: bye)*|good night|have (?:good|nice|great) (?:day|evening|one)
        (?:talk|speak) to you (?:later|soon)|see you(?: (?:later|soon|then))?
        (?:i )?(?:really )?(?:have|need|got|have got|must)(?: to)? (?:go|run|leave|hang up)
        i am (?:going to )?(?:hang|hanging) up
        (?:i )?can not (?:talk|speak)(?: to you| on phone)?
        i am (?:very |really |too |bit |quite )?busy
        i am (?:driving|working|at work|in meeting|in middle of something|with (?:somebody|someone)|eating|sleeping)
        (?:i )?(?:do not have|have no|have not got|have not) (?:any )?time(?: (?:for this|to talk|for that))?
        (?:(?:this|now|it) is )?(?:not good|bad|not right) (?:time|moment)
        (?:(?:can|could|would|will) you )?(?:call|ring|phone|try) {_LATER}
        (?:let us|can we|could we|i want to|i would like to) (?:stop|end|finish) (?:this call|this conversation|call|conversation|here|there|for today|for now)
    """,
)


def is_backchannel(text: str) -> bool:
    """A cough, "mhm", "okay", "hello?": said while we speak, it does not stop us."""
    return all(word in _BACKCHANNEL for word in words(text))


def asks_to_repeat(text: str) -> bool:
    """Was the question not heard, or not understood?"""
    return _REPEAT.match(_core(text)) is not None


def asks_who(text: str) -> bool:
    """Does the contact want to know who or what calls, or why?"""
    return _WHO.match(_core(text)) is not None


def says_goodbye(text: str) -> bool:
    """Does the contact want to end this call, for now or for later?"""
    return _GOODBYE.match(_core(text)) is not None


def is_greeting(text: str) -> bool:
    """Only "hello?" or the like: somebody picked up, or wonders whether we are there."""
    said = content_words(text)
    return bool(said) and set(said) <= _GREETING and said[0] in _GREETING_BEGINS and said != ("good",)


def _core(text: str) -> str:
    return " ".join(word for word in words(text) if word not in FILLERS or word == "huh")
