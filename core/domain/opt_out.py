"""Does somebody ask never to be called again? In whatever words, spoken or typed.

A miss is the worst error of this product, so what is in doubt counts as asking; but a story about calls ("my son never
calls me") is an answer, and whoever tells it must not be forgotten for it. An order is found by its own words; those
before it tell whether it is given, told of, or turned into its contrary ("don't stop calling me").
"""

from __future__ import annotations

import re

from core.domain.spoken_words import FILLERS, words


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


def _any(listed: str) -> str:
    """A pattern for any of the words."""
    return f"(?:{'|'.join(listed.split())})"


_CALL = _any("call ring phone telephone contact bother dial harass pester bug disturb text message email")
_CALLING = _any(
    "calling ringing phoning contacting bothering dialing dialling harassing pestering bugging disturbing annoying spamming texting messaging emailing"
)
_CALLS = r"(?:(?:phone |telephone |automated |sales |robo )?calls?|robocalls|messages|texts)"
_NUMBER = r"(?:phone |telephone |cell |mobile )?number"
_US = rf"(?:me|us|here|(?:this|my|our) (?:{_NUMBER}|phone|house|home))"
_ENTRY = rf"(?:me|us|(?:my|our|this|the) (?:{_NUMBER}|name|contact|contacts|details|information|entry|data|account))"
_LIST = _any(
    "list lists call calls calling system database record records register roster schedule book books file files program service contacts"
)
_THESE = _any("these those this your all the any more further of such")
_OTHERS = r"(?:my (?!number\b|phone\b|house\b|home\b)|(?:him|her|his|them|it|people|everybody|everyone|others|strangers|customers)\b)"

_ORDER = re.compile(
    r"\b(?:"
    rf"(?:stop|quit|cease) {_CALLING}(?! {_OTHERS})"
    rf"|(?:stop|quit|cease|end|cancel)(?: with| making)?(?: {_THESE})*(?: \w+)? {_CALLS}(?! (?:from|to) {_OTHERS})"
    rf"|(?:take|get|remove|delete|cross|strike|scratch|drop) {_ENTRY}(?: \w+)? (?:off|from|out)(?: \w+){{0,5}} {_LIST}"
    rf"|(?:take|get|remove|delete|cross|strike) {_ENTRY} (?:off|out)(?: of)?(?: it| that| this)?$"
    rf"|(?:remove|delete|erase|lose|forget|drop|block) (?:my|our|this) {_NUMBER}"
    r"|(?:remove|delete|unlist) (?:me|us)(?! from (?:the|my) (?:house|home|hospital|room)\b)"
    rf"|(?:take|remove|strike|cross) (?:my|our) (?:name|{_NUMBER}) (?:off|from)"
    # Nobody asks for being called "any more": the word before was lost.
    rf"|{_CALL} {_US} (?:any more|any longer)"
    # The last word is often lost, on the line or in our own pause.
    rf"|(?:take|remove|delete) {_ENTRY} (?:off|from)(?: of)? (?:your|the|this|that)(?: please)?$"
    r"|unsubscribe|opt (?:me |us )?out"
    r"|(?:put|add|place) (?:me|us|(?:my|this) (?:name|number)) (?:on|to|onto) (?:\w+ ){0,3}(?:not|no) call"
    r"|leave (?:me|us) (?:alone|in peace)(?! (?:with|in|at)\b)"
    r")\b"
)
# With a negation of their own, which a story has as well: "my kids do not call me any more".
_FORBIDDING = re.compile(
    rf"\b(?P<how>do not|never|not to|must not|should not|can not|may not|better not) (?:you )?(?:dare (?:to )?)?(?:ever )?{_CALL}"
    rf"(?P<whom>(?: back)?(?: {_US})?(?: back)?)(?P<for_good>(?: (?:ever|any more|any longer|again|at all))*)(?! \w*ing\b)\b"
)
# "Do not call me tomorrow" puts off, "don't call me grandma" does not even that.
_NOT_FOR_GOOD = re.compile(
    rf"^ (?:right )?{_any('tomorrow today tonight now yet later early late at before after during in on when while until unless if by for every so this that it him her them my the a an')}\b"
)
# What is said of oneself, and without an order.
_WISH = re.compile(
    r"\b(?:"
    r"(?:do not|did not|never) (?:want|like|wish|need|care for)(?: to (?:get|receive|have|take|answer))?"
    rf"(?: {_THESE})*(?: kind of)?(?: (?!to\b)\w+)? {_CALLS}(?! (?:back|from|about|with|to) {_OTHERS})"
    rf"|(?:do not|did not|never) (?:want|like|wish|need) (?:you|this company|anybody|anyone)(?: people)? (?:to {_CALL}|{_CALLING}) {_US}(?P<later>{_NOT_FOR_GOOD.pattern[1:]})?"
    r"|(?:do not|did not) (?:want|wish|like) to be (?:called|phoned|contacted|bothered|disturbed|on (?:your|this|the|any)(?: \w+)? list)(?! by\b)"
    r"|do not (?:want|wish) to (?:hear|talk|speak)(?: any more| ever| again)*(?: from| to| with) you"
    rf"|(?:had|have) enough of(?: {_THESE})*(?: \w+)? {_CALLS}"
    r"|(?:revoke|withdraw) (?:my|our) (?:consent|permission)"
    r")\b"
)
_NO_MORE = re.compile(
    rf"(?:^|\b{_any('please and no want so okay said just yes hello')} )no (?:more|further) (?:of )?(?:these |those |your )?{_CALLS}\b"
)

# Orders only when nothing else is said: "i had to stop" is none. The seven of 47 CFR 64.1200(a)(10) come first.
_ALONE_PHRASES = """
    stop | quit | end | revoke | opt out | cancel | unsubscribe
    stop it | stop that | stop this | stop all | stopall | stop now | stop immediately | stop at once | you stop | can you stop | make it stop
    could you stop | will you stop | would you stop | i want you to stop | i want this to stop | end it | end this | cancel it | cancel this
    stop calling | do not call | never call | no more calls | enough of this
    take me off | remove | off the list | go away | get lost | get out of my life
    not interested | no interest | i have no interest | really not interested | not at all interested | not interested at all
    not interested any more | not interested in this | not interested in that | not interested in it | not interested in your calls
    not interested in these calls | not interested in this call | not interested in any of this | not interested in your call
    i did not sign up for this | i never signed up for this | i did not ask for this | i never asked for this
    i did not ask for these calls | i never asked for these calls | i did not sign up for these calls
"""
_ALONE = frozenset(tuple(phrase.split()) for phrase in _ALONE_PHRASES.replace("\n", "|").split("|")) - {()}
_HUMS = FILLERS - {"the", "a", "like"}
# Said before and after any of these.
_MANNERS = _HUMS | _set(
    "no yes yeah yep hello hi hey sorry thanks thank you now just really sir madam i we am are said say look listen again already immediately"
    " man guys for but and right goodbye bye it is"
)
_LONGEST_ALONE = 12

_WRONG_NUMBER = re.compile(
    r"\b(?:wrong (?:(?:phone |telephone )?number|person|guy|party)|not (?:my|his|her|their|the right) (?:phone )?number)\b|\byou have the wrong(?: please)?$"
)
_NOBODY_HERE = re.compile(r"\bby (?:that|this) name\b")
_LONGEST_WRONG_NUMBER = 10  # words; longer, it is a story about one

_POLITE = (FILLERS - {"like"}) | _set(
    "just now really simply kindly maybe already immediately finally ever all always often sometimes usually"
)
_TELLERS = _set(
    "i we he she it they who which that people kids children grandchildren friend friends family son sons daughter daughters sister sisters brother"
    " brothers mother father mom dad wife husband neighbor neighbors neighbour neighbours grandson granddaughter grandma grandpa doctor nurse"
    " everybody everyone somebody someone anybody anyone nobody him her them one"
)
_AUXILIARIES = _set("did do does had have has could would will can might must should may shall")
_ASKING = _set("want need like told tell telling ask asked asking beg begging order wish prefer demand going how trying have")
_CONDITIONS = _set("if when since until because before after unless why whenever once hope afraid sad")
_STARTERS = _set("please and so no yes ok okay hey hello well then now again me stop calling sir madam said say thanks listen look")


def asks_to_stop(text: str) -> bool:
    """Does the contact ask never to be called again? A wrong number counts: whoever answered agreed to nothing."""
    said = words(text)
    joined = " ".join(said)
    return (
        _is_alone(said)
        or any(_is_given(_before(joined, found)) for found in _ORDER.finditer(joined))
        or any(_forbids(joined, found) for found in _FORBIDDING.finditer(joined))
        or any(found["later"] is None and _is_own(_before(joined, found)) for found in _WISH.finditer(joined))
        or _NO_MORE.search(joined) is not None
        or _is_wrong_number(said, joined)
    )


def _before(joined: str, found: re.Match[str]) -> list[str]:
    return [word for word in joined[: found.start()].split() if word not in _POLITE]


def _is_alone(said: tuple[str, ...]) -> bool:
    """Is one of the short orders all there is, manners apart?"""
    meant = tuple(word for word in said if word not in _HUMS)
    if not meant or len(meant) > _LONGEST_ALONE:
        return False
    for start in range(len(meant)):
        for end in range(len(meant), start, -1):
            if meant[start:end] in _ALONE or set(meant[start:end]) == {"stop"}:
                return True
            if meant[end - 1] not in _MANNERS:
                break
        if meant[start] not in _MANNERS:
            break
    return False


def _is_given(before: list[str]) -> bool:
    """Do the words before an order leave it one?"""
    if not before:
        return True
    last, earlier = before[-1], before[:-1]
    if last in {"not", "never", "without"}:
        return False
    if last == "you":
        # "You stop calling me now", "can you ..."; but "when you ...", and "do not want that you ..." below.
        return not (earlier and earlier[-1] in _CONDITIONS)
    if last == "to":
        return _is_asked(earlier)
    if last == "i":
        # "How do i stop these calls?"
        return bool({"how", "can", "may", "could"} & set(earlier[-2:]))
    if last in _AUXILIARIES:
        return bool(earlier) and earlier[-1] == "you"
    return last not in _TELLERS


def _is_asked(before: list[str]) -> bool:
    """Of "... to stop calling": is it we who are asked?"""
    if before and before[-1] in {"you", "this", "these"}:
        before = before[:-1]
    if not before or before[-1] not in _ASKING:
        return False
    if before[-1] == "have":
        # "You have to stop", but "i have to stop calling at night".
        return before[-2:-1] == ["you"]
    return not {"not", "never"} & set(before[-3:])


def _forbids(joined: str, found: re.Match[str]) -> bool:
    before, how, for_good = _before(joined, found), found["how"], found["for_good"]
    if not found["whom"] and not for_good:
        return False
    rest = joined[found.end() :]
    if not for_good and _NOT_FOR_GOOD.match(rest) and not re.search(r"\b(?:again|ever|any more)\b", rest):
        return False
    last = before[-1] if before else None
    if how == "not to":
        return last in _ASKING or (last == "you" and before[-2:-1] != [] and before[-2] in _ASKING)
    if how not in {"do not", "never"}:
        return last in {"you", "had"} or (last is None and how == "better not")
    if last is None:
        return True
    if "again" in for_good:
        return last not in _TELLERS
    return last in _STARTERS


def _is_own(before: list[str]) -> bool:
    if before and before[-1] in _AUXILIARIES:
        before = before[:-1]
    if not before or before[-1] in {"i", "we"}:
        return not (before[-2:-1] and before[-2] in _CONDITIONS - {"because", "since"})
    return before[-1] not in _TELLERS and before[-1] != "you"


def _is_wrong_number(said: tuple[str, ...], joined: str) -> bool:
    if len(said) > _LONGEST_WRONG_NUMBER:
        return False
    found = _WRONG_NUMBER.search(joined)
    if found is None:
        return _NOBODY_HERE.search(joined) is not None
    before = set(_before(joined, found))
    return bool({"you", "think", "believe", "guess", "afraid"} & before) or not _TELLERS & before
