"""What a contact means by a few words, on any channel: stop for good, say it again, who are you, yes or no, a number.

Pure rules over text as a recogniser writes it: lower or mixed case, little punctuation, words misheard. Nothing here
raises for any text. Where a rule must err, it errs towards not calling somebody again.
"""

from __future__ import annotations

import re

# A recogniser's or a mailer's runaway text is cut: no rule needs more, and none may cost more.
MAX_CHARACTERS = 4000

# Phrases a recogniser is told to expect in every conversation. Few, and unlike each other: "yep" beside "not yet" was
# heard for it, which turns an answer round. What is understood, once heard, is far more.
OPT_OUT_PHRASES = (
    "stop calling me",
    "please stop calling me",
    "don't call me again",
    "don't call me anymore",
    "take me off your list",
    "remove my number",
    "wrong number",
)
REPEAT_PHRASES = ("can you repeat that", "say that again", "what did you say", "pardon")
WHO_PHRASES = ("who is this", "who is calling")
GOODBYE_PHRASES = ("bye bye", "i have to go")
YES_PHRASES = ("yes", "yeah", "yes i did", "yes i have", "i did", "i have")
NO_PHRASES = ("no", "not yet", "no i did not", "no i have not", "i did not", "i have not", "i forgot")
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+(?:\.\d+)?")
_FILLERS = frozenset(
    {"a", "ah", "eh", "er", "erm", "hm", "hmm", "like", "mhm", "mm", "oh", "okay", "ok", "please", "so", "uh", "um", "well", "huh", "the"}
)
_IRREGULAR = {
    "can't": "can not",
    "who's": "who is",
    "what's": "what is",
    "that's": "that is",
    "it's": "it is",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "dont": "do not",
    "didnt": "did not",
    "havent": "have not",
}
_ENDINGS = (("n't", " not"), ("'ve", " have"), ("'m", " am"), ("'re", " are"), ("'ll", " will"), ("'d", " would"))

# A backchannel tells a speaker that one listens; it does not ask for the floor.
_BACKCHANNEL = _FILLERS | {"hello", "hi", "hey", "right", "see", "i"}


def words(text: str) -> tuple[str, ...]:
    """Lower-case words with contractions written out ("haven't" -> "have", "not"); numbers stay digits."""
    found: list[str] = []
    for word in _WORD.findall(text[:MAX_CHARACTERS].lower().replace("\u2019", "'").replace("\u2018", "'")):
        found.extend(_expanded(word).split())
    return tuple(found)


def _expanded(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for ending, meaning in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending):
            return word.removesuffix(ending) + meaning
    return word


def content_words(text: str) -> tuple[str, ...]:
    """The words that carry meaning: hesitations left out."""
    return tuple(word for word in words(text) if word not in _FILLERS)


def is_backchannel(text: str) -> bool:
    """A cough, "mhm", "okay", "hello?": said while we speak, it does not stop us."""
    return all(word in _BACKCHANNEL for word in words(text))


# --- stop for good --------------------------------------------------------------------------------------------------

# Each pattern is looked for in the words joined by single spaces.
_OPT_OUT = re.compile(
    r"\b(?:"
    r"(?:stop|quit) (?:calling|phoning|ringing|contacting|bothering|harassing)(?! (?:my|him|her|them|his|it|people)\b)"
    r"|(?:stop|no more|end) (?:these|those|the|your|all|with the|with these) (?:\w+ )?(?:calls|call|messages)"
    r"|(?:stop|no more) (?:calls|messages)"
    r"|never (?:call|ring|phone|contact) (?:me|us|here|this number)\b"
    r"|(?:take|get|remove|delete|cross|strike) (?:me|us|my name|my number|my phone number|this number|the number|our number)"
    r" (?:\w+ )?(?:off|from|out of)"
    r"|(?:remove|delete|erase|forget|lose) (?:my|our|this) (?:phone )?number"
    r"|(?:unsubscribe|opt out|opt me out|opted out)"
    r"|(?:put|add) (?:me|us|my number|this number) (?:on|to) (?:\w+ ){0,3}(?:do not call|no call)"
    r"|do not want (?:any more|these|your|to get|to receive|any)(?: \w+){0,3} calls?"
    r")\b"
)
# "they stop calling me" tells a story; "stop calling me" gives an order.
_STORY_SUBJECTS = frozenset(
    {"they", "he", "she", "it", "kids", "children", "friends", "people", "son", "daughter", "to", "not", "did", "never"}
)
_DO_NOT_CALL = re.compile(r"(?:^|(\w+) )do not (?:ever )?(?:call|ring|phone|contact|bother) (?:me|us|here|this number|again|any ?more)\b")
_ORDER_BEFORE = frozenset(
    {
        "please",
        "and",
        "just",
        "so",
        "no",
        "ok",
        "okay",
        "hey",
        "you",
        "well",
        "then",
        "now",
        "said",
        "again",
        "me",
        "stop",
        "calling",
        "sir",
        "hello",
    }
)
_WRONG_NUMBER = re.compile(r"\bwrong (?:number|person)\b")


def asks_to_stop(text: str) -> bool:
    """Does the contact ask never to be called again? A wrong number counts: whoever answered agreed to nothing."""
    said = words(text)
    if "stop" in said and set(said) - _FILLERS <= {"stop", "no", "it", "now", "this", "hello"}:
        return True
    joined = " ".join(said)
    for match in _OPT_OUT.finditer(joined):
        before = joined[: match.start()].split()
        if match.group().startswith(("stop", "quit")) and before and before[-1] in _STORY_SUBJECTS and "want" not in before[-3:]:
            continue
        return True
    for match in _DO_NOT_CALL.finditer(joined):
        if match.group(1) is None or match.group(1) in _ORDER_BEFORE:
            return True
    return len(said) <= 8 and _WRONG_NUMBER.search(joined) is not None


# --- other things said to us rather than to the question ------------------------------------------------------------

_REPEAT = re.compile(
    r"^(?:(?:i am )?(?:sorry|hello|hi|yes|hey) )*(?:"
    r"what|sorry|pardon(?: me)?|excuse me|come again|huh|repeat(?: (?:that|it))?|(?:say )?(?:that )?again|one (?:more )?time"
    r"|(?:what|pardon) (?:(?:did )?you say|was that|is that|is the question|was the question|do you mean)(?: again)?"
    r"|(?:(?:can|could|would|will) you )?(?:repeat|say) (?:that|it|the question|again)"
    r"(?: (?:again|once more|one more time))*"
    r"|(?:i )?(?:did|could|can) not (?:hear|catch|get|understand)(?: (?:that|you|it|what you said))?"
    r")$"
)
_WHO = re.compile(
    r"^(?:(?:hello|hi|hey|yes|sorry) )*"
    r"(?:who (?:is|are) (?:this|that|it|you|calling|there|speaking|am i speaking to)"
    r"|who is this calling|who calls|what is this(?: about)?)$"
)
_GOODBYE = re.compile(
    r"^(?:(?:thank you|thanks|sorry|no) )*"
    r"(?:good ?bye|bye(?: bye)?|(?:i )?(?:have|need|got) to (?:go|hang up)(?: now)?|i am hanging up"
    r"|(?:i )?can not talk(?: right)?(?: now)?|i am busy(?: right)?(?: now)?|(?:this is )?not a good time|call (?:me )?(?:back )?later)"
    r"(?: (?:thank you|thanks|bye|goodbye))*$"
)


def asks_to_repeat(text: str) -> bool:
    """Was the question not heard? Only when nothing else was said."""
    return _REPEAT.match(_core(text)) is not None


def asks_who(text: str) -> bool:
    return _WHO.match(_core(text)) is not None


def says_goodbye(text: str) -> bool:
    """Does the contact want to end this call? Only when it is all they said: "I said goodbye to a friend" is an answer."""
    return _GOODBYE.match(_core(text)) is not None


def is_greeting(text: str) -> bool:
    """Only "hello?" or the like: somebody picked up, or wonders whether we are there."""
    said = content_words(text)
    return (
        bool(said)
        and all(
            word in {"hello", "hi", "hey", "anybody", "anyone", "there", "are", "you", "still", "good", "morning", "evening", "afternoon"}
            for word in said
        )
        and (said[0] in {"hello", "hi", "hey", "anybody", "anyone", "are", "good"} and said != ("good",))
    )


def _core(text: str) -> str:
    said = [word for word in words(text) if word not in _FILLERS or word == "huh"]
    return " ".join(said)


# --- yes and no ------------------------------------------------------------------------------------------------------

# What is said plainly. "I did not" is one no, hence the longest phrase at each place counts.
_NO = """
    no | nope | nah | negative | never | not | none of them | i forgot | forgot | of course not | not at all | why would i
    have not | has not | had not | did not | do not | does not | am not | is not | are not | was not | were not | will not | would not
    can not | could not | should not | i have not | i did not | i do not | i am not | i will not | i can not
"""
_YES = """
    yes | yeah | yep | yup | ya | yah | aye | sure | of course | absolutely | certainly | definitely | indeed | correct | affirmative
    why not | no problem | no problem at all | no worries | not a problem | uh huh | i think so | i believe so | all of them
    i did it | i already did | i already have
"""
_NEITHER = """
    i do not know | do not know | i am not sure | not sure | i do not remember | do not remember | i can not remember | can not remember
    i can not say | no idea | i have no idea | not only
"""
# Manners, or half an answer: they count when nothing plain was said.
_WEAK_NO = "nothing | none | yet"
_WEAK_YES = "okay | ok | right | fine | mhm | already | took | that is fine | i took it | please do | alright | all right | good idea"
# These end an answer ("I have.") or begin another sentence ("I have enough"): only at the end they say yes.
_CLOSING_YES = "i did | i have | i do | i am | i will | it is | they are | you may | you can"

_DO_NOT_THINK_SO = re.compile(r"\b(?:i )?do not (?:think|believe) so\b")


def _table() -> tuple[tuple[tuple[str, ...], bool | None, str], ...]:
    entries: list[tuple[tuple[str, ...], bool | None, str]] = []
    for phrases, meaning, strength in (
        (_NEITHER, None, "plain"),
        (_NO, False, "plain"),
        (_YES, True, "plain"),
        (_WEAK_NO, False, "weak"),
        (_WEAK_YES, True, "weak"),
        (_CLOSING_YES, True, "closing"),
    ):
        entries.extend((tuple(phrase.split()), meaning, strength) for phrase in phrases.replace("\n", "|").split("|") if phrase.strip())
    return tuple(sorted(entries, key=lambda entry: -len(entry[0])))


_POLARITY = _table()


def yes_or_no(text: str) -> bool | None:
    """True for yes, False for no, None when it was neither, or both: a wrong guess is worse than a second question."""
    said = words(_DO_NOT_THINK_SO.sub("no", " ".join(words(text))))
    plain: set[bool] = set()
    weak: set[bool] = set()
    position = 0
    while position < len(said):
        for phrase, meaning, strength in _POLARITY:
            end = position + len(phrase)
            if said[position:end] != phrase or (strength == "closing" and content_words(" ".join(said[end:]))):
                continue
            if meaning is not None:
                (plain if strength == "plain" else weak).add(meaning)
            position = end
            break
        else:
            position += 1
    for answers in (plain, weak):
        if answers:
            return answers.pop() if len(answers) == 1 else None
    return None


# --- numbers ----------------------------------------------------------------------------------------------------------

_UNIT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_UNIT_WORDS.split())} | {"nought": 0}
_TENS = {word: 10 * value for value, word in enumerate(_TEN_WORDS.split(), start=2)}
# "Four out of ten", "three over five": the scale, not the answer.
_SCALES = frozenset({5.0, 10.0, 20.0, 100.0})
_CORRECTIONS = frozenset({"no", "sorry", "mean", "actually", "rather", "wait"})


def number_in(text: str) -> str | None:
    """The one number in the text, as digits ("seven and a half" -> "7.5"); None if there is none, or several.

    "Four out of ten" is four. A number that corrects the one before it ("three, no, four") wins.
    """
    said = words(text)
    found: list[tuple[int, float]] = []
    position = 0
    while position < len(said):
        taken, value = _number_at(said, position)
        if taken == 0:
            position += 1
            continue
        before = said[max(0, position - 2) : position]
        is_scale = bool(found) and value in _SCALES and (before[-2:] == ("out", "of") or before[-1:] in {("over",), ("of",)})
        if not is_scale:
            found.append((position, value))
        position += taken
    if len({value for _, value in found}) > 1:
        first_after = found[0][0]
        corrected = any(word in _CORRECTIONS for word in said[first_after : found[-1][0]])
        found = found[-1:] if corrected else []
    if not found:
        return None
    value = found[-1][1]
    return str(int(value)) if value == int(value) else f"{value:g}"


def _number_at(said: tuple[str, ...], start: int) -> tuple[int, float]:
    """Words taken from `start`, and the value they spell; (0, 0.0) if no number starts there."""
    position = start
    total = 0.0
    current: float | None = None
    last_scale = ""
    while position < len(said):
        word = said[position]
        if word[0].isdigit():
            if current is not None or total:
                break
            # Longer digit strings are ids, not amounts; they must not overflow either.
            value = float(word[:12])
            current, last_scale = value, "digits"
        elif word in _TENS:
            if current is not None and last_scale != "hundred":
                break
            current, last_scale = (current or 0) + _TENS[word], "tens"
        elif word in _UNITS:
            value = _UNITS[word]
            if current is None:
                current = value
            elif last_scale == "hundred" or (last_scale == "tens" and 0 < value < 10):
                current += value
            else:
                break
            last_scale = "units"
        elif word == "hundred" and current is None and not total and start > 0 and said[start - 1] == "a":
            current, last_scale = 100, "hundred"
        elif word == "hundred" and current is not None and 0 < current < 100 and last_scale in {"units", "digits"}:
            current, last_scale = current * 100, "hundred"
        elif word == "thousand" and current is not None and 0 < current < 1000 and not total:
            total, current, last_scale = current * 1000, None, "thousand"
        elif word == "and" and last_scale in {"hundred", "thousand"} and _starts_number(said, position + 1):
            pass
        else:
            break
        position += 1
    if current is None and not total:
        return 0, 0.0
    value = total + (current or 0)
    rest = said[position : position + 3]
    if rest == ("and", "a", "half"):
        return position + 3 - start, value + 0.5
    if len(rest) >= 2 and rest[0] == "point" and rest[1] in _UNITS:
        return position + 2 - start, value + _UNITS[rest[1]] / 10
    return position - start, value


def _starts_number(said: tuple[str, ...], position: int) -> bool:
    return position < len(said) and (said[position] in _TENS or said[position] in _UNITS)
