"""Yes or no, or neither: a wrong guess is worse than a second question."""

from __future__ import annotations

import re

from core.domain.spoken_words import content_words, words

# What is said plainly. "I did not" is one no, hence the longest phrase at each place counts.
_NO = """
    no | nope | nah | naw | nay | nuh uh | negative | never | not | not at all | of course not | no way | no chance | not a chance
    no thank you | no thanks | no sir | no madam | none of them | why would i | far from it | hardly | unlikely
    have not | has not | had not | did not | do not | does not | am not | is not | are not | was not | were not | will not | would not
    can not | could not | should not | i have not | i did not | i do not | i am not | i will not | i can not
    absolutely not | certainly not | definitely not | probably not | obviously not | surely not | clearly not | sure not
    i guess not | i suppose not | i hope not | i think not | i believe not | better not | rather not | i would rather not
    i am afraid not | i am afraid i did not | i am afraid i have not | i doubt it | i forgot | forgot
"""
_YES = """
    yes | yeah | yea | yep | yup | yah | ya | aye | yes sir | yes madam | sure | sure thing | for sure | of course | absolutely | certainly
    definitely | indeed | correct | affirmative | naturally | obviously | totally | exactly | that is right | that is correct | that is true
    you bet | by all means | go ahead | gladly | with pleasure | why not | i do not see why not | i see no reason why not | uh huh
    i think so | i believe so | i guess so | i suppose so | i hope so | no doubt | no doubt about it | without a doubt
    all of them | i did it | i already did | i already have | i would like that | i would love that | i would love to
    that would be nice | that would be great | that would be fine | that would be good | that works | works for me | sounds good
"""
# Neither: what is open, and manners that say yes to one question and no to another.
_NEITHER = """
    maybe | perhaps | possibly | it depends
    i do not know | do not know | i am not sure | not sure | not so sure | not too sure | not quite sure | i am not quite sure | not certain
    i do not remember | do not remember | i can not remember | can not remember | do not recall | can not recall
    i can not say | can not say | can not tell | hard to say | no idea | i have no idea | let me think | why do you ask
    not only | not necessarily | not exactly | not entirely | not always | not every time | not all of them | not everything
    no problem | no problems | no problem at all | not a problem | no worries | no matter | does not matter | never mind | do not mind
    do not worry | do not care | no one | no more than usual | not bad | not too bad | not so bad
    can not complain | could not complain | can not wait | could not be better
    did not forget | have not forgotten | never forget | never forgot | not forget
"""
# Manners, or half an answer: they count when nothing plain was said.
_WEAK_NO = "nothing | none | yet"
_WEAK_YES = """
    okay | ok | right | fine | mhm | all right | alright | already | took | i took it | that is fine | please do | good idea | true
    i guess | i suppose
"""
# These end an answer ("I have.") or begin another sentence ("I have enough"): only at the end they say yes.
_CLOSING_YES = "i did | i have | i do | i am | i will | we did | we have | we do | it is | they are | you may | you can"

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
    # "I do not mind" must not be "i do not".
    entries.extend((("i", *phrase), meaning, strength) for phrase, meaning, strength in tuple(entries) if meaning is None)
    return tuple(sorted(entries, key=lambda entry: -len(entry[0])))


_POLARITY = _table()


def yes_or_no(text: str) -> bool | None:
    """True for yes, False for no, None when it was neither, or both."""
    said = words(_DO_NOT_THINK_SO.sub("no", " ".join(words(text))))
    plain: set[bool] = set()
    weak: set[bool] = set()
    unsure = False
    position = 0
    while position < len(said):
        for phrase, meaning, strength in _POLARITY:
            end = position + len(phrase)
            if said[position:end] != phrase or (strength == "closing" and content_words(" ".join(said[end:]))):
                continue
            unsure = unsure or meaning is None
            if meaning is not None:
                (plain if strength == "plain" else weak).add(meaning)
            position = end
            break
        else:
            position += 1
    answers = plain or (set() if unsure else weak)
    return answers.pop() if len(answers) == 1 else None
