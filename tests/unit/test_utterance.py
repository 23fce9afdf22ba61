"""What people mean by a few words: tables of what counts, and of what must not."""

from __future__ import annotations

import time

import pytest

from core.domain import utterance

STOPS = """
stop
Stop!
please stop
stop please
no stop
just stop it
stop it now
okay stop
can you stop
could you please stop
stop, thank you
stop calling
stop calling me
Stop calling me!
please stop calling me
just stop calling me already
yes stop calling me
no thanks stop calling me please
i told you to stop calling me
i asked you to stop calling
i want you to stop calling me
i would like you to stop calling
you have to stop calling me
you must stop calling me
you need to stop calling this number
can you please stop calling me
would you stop phoning me
quit calling me
quit bothering me
stop bothering us
stop ringing here
stop harassing me
stop calling my house
stop these calls
please stop these phone calls
stop all your calls
stop the calls
you must stop these phone calls
i want to stop these calls
how do i stop these calls
cancel these calls
end these calls please
no more calls
no more calls please
please no more phone calls
i want no more calls
don't call me again
Please don\u2019t call again
dont call me again
do not ever call me again
do not call me
do not call me anymore
don't call me any more please
do not call back
don't you ever call me again
don't call this number
please do not call this number anymore
don't call here anymore
never call me again
just never call me again
never call this number again
i said do not call me again
i told you not to call me
i asked you not to call here
you should not call me
you must not call me again
better not call me again
i don't want these calls
i don't want any more calls
i don't want your calls
i do not want any calls from you
i don't want you to call me
i don't want you to call me anymore
i don't want you calling me
i do not want to be called
i don't want to be called again
i don't want to receive these calls
i do not like these calls
i don't need these calls
we don't want any phone calls
i don't want to hear from you again
i have had enough of these calls
take me off
take me off your list
take me off the list
please take me off that list
take me off your calling list please
can you take me off the call list
take my name off your list
take my number off the list please
get me off this list
get my number out of your system
remove me
please remove me
remove me from your list
remove me from the database
remove my number
please remove my phone number
delete my number
lose my number
forget my number
delete me from your records
put me on the do not call list
add my number to your do not call list
unsubscribe
unsubscribe me please
opt out
i want to opt out
opt me out
i revoke my consent
revoke
cancel
quit
STOP ALL
stopall
leave me alone
please leave me alone
just leave us alone
will you leave me alone
go away
get lost
not interested
i am not interested
i'm not interested thank you
sorry we are not interested
no thank you i am not interested
really not interested
not interested in your calls
i have no interest
wrong number
you have the wrong number
you've got the wrong number
sorry wrong number
i think you have the wrong number
this is the wrong number
wrong person
you have the wrong person
you dialed the wrong number
there is nobody here by that name
no one by that name lives here
i never signed up for this
i did not sign up for these calls
um please uh stop calling me
hello stop calling me okay
do not call me now or ever again
call me anymore
take me off your
you have the wrong
""".strip().splitlines()

DOES_NOT_STOP = """
don't stop calling me
please don't stop calling
do not stop calling me
never stop calling me
please never stop calling
i don't want you to stop calling me
i do not want you to stop
i would never ask you to stop calling me
i can't stop thinking about it
i could not stop laughing
i could not stop crying
i had to stop
i had to stop calling my sister
i want to stop smoking
i stopped at the market
i will stop by the store
i need to stop at the bank
the bus stop is far away
the rain did not stop
it would not stop
the pain does not stop
we stopped for lunch
i had to stop working
they stop calling me when it rains
the kids stop calling me after a while
when you stop calling me i will be sad
if you stop calling me i would miss it
i told my son to stop calling his boss
my kids don't call me anymore
my children never call me
my son does not call me
they never call me
nobody calls me
nobody ever calls me anymore
my daughter will call me back tomorrow
i will call my brother
i never call anyone
i don't call my sister very often
my friends do not want to call me
they do not want any calls
i don't want to miss your calls
i did not want to call my doctor
i do not want to talk about that
i do not want to talk about it any more
call me later
call me back later
call me again tomorrow
please call me again
yes call me
do not call me tomorrow
please don't call me before nine
don't call me so early
don't call me at work
don't call me on sundays
i got no more calls from my son
there were no more calls
the list was much too long
i took it off the shelf
my daughter will take me off to the market
they want to take me off the medicine
my son gets me out of the house
please get me out of here
i got out of the house
they removed my gallbladder
i forgot my number
i keep forgetting my number
i always lose my number
my neighbor leaves me alone all day
they leave me alone with the dog
i do not want to be left alone
do not leave me alone
please don't leave me alone
i was not interested in the film
i am not interested in football any more
i am very interested
yes i am interested
i dialed the wrong number yesterday
yesterday i dialed the wrong number and talked to a stranger for an hour
i took the wrong bus
there is something wrong with my number pad
i took the wrong pills
i went to the wrong house
no
no thank you
not today
nothing
no more
that is enough
i have enough
i do not need more pills
the end
i went to the end of the road
i cancelled my trip
i want to quit smoking
my subscription was cancelled
i ended the day with a walk
go away was the name of the film
i would like more calls
who is calling
what is this
hello
goodbye
""".strip().splitlines()


@pytest.mark.parametrize("said", STOPS)
def test_a_wish_never_to_be_called_again_is_understood(said: str) -> None:
    assert utterance.asks_to_stop(said)


@pytest.mark.parametrize("said", [*DOES_NOT_STOP, "", "?!", "..."])
def test_what_is_no_such_wish_is_not_taken_for_one(said: str) -> None:
    assert not utterance.asks_to_stop(said)


@pytest.mark.parametrize("said", STOPS)
def test_shouting_hesitating_and_typing_do_not_change_it(said: str) -> None:
    assert utterance.asks_to_stop(said.upper())
    assert utterance.asks_to_stop(f"  {said} !!! ")
    assert utterance.asks_to_stop(said.replace("'", "\u2019"))
    assert utterance.asks_to_stop(f"uh {said} please")


YES = """
yes | Yeah. | yep | yup | yea | sure | sure thing | of course | absolutely | definitely | certainly | exactly | correct | that is right
yes please | yes i did | yes i have | i did | I have | uh huh | i think so | i guess so | i suppose so | i believe so | i hope so
yes sir | yes ma'am | why not | i don't see why not | go ahead | by all means | you bet | for sure | no doubt | that would be nice
i would like that | sounds good | all of them | i already did | okay | all right | fine | i guess | yes of course i did
oh yes absolutely
""".replace("\n", "|").split("|")
NO = """
no | nope | nah | nuh uh | not yet | not really | not at all | absolutely not | certainly not | definitely not
of course not | probably not
i guess not | i suppose not | i'm afraid not | i don't think so | i do not believe so | no way | not a chance | no thank you | no thanks
never | i didn't | i haven't | no i did not | i have not | i forgot | i'd rather not | better not | no sir | not today
nothing | none of them
unlikely | hardly | not that i know of | i doubt it | okay no | no i have enough | please don't | no not yet | i can't
""".replace("\n", "|").split("|")
NEITHER = """
maybe | perhaps | i don't know | dunno | i am not sure | not so sure | i don't remember | i can't say | hard to say | no idea | it depends
no problem | no problem at all | no worries | not a problem | never mind | i don't mind | not necessarily | not exactly | not always
yes and no | yes no | yeah no | no yes | well yes but no | i did not forget | not bad | no one | let me check | i will take it now | what
seven | the weather | um | mhm maybe | can't complain | i can't wait | not only |
""".replace("\n", "|").split("|")


@pytest.mark.parametrize(("meaning", "phrases"), [(True, YES), (False, NO), (None, NEITHER)])
def test_yes_no_and_neither(meaning: bool | None, phrases: list[str]) -> None:
    assert [phrase.strip() for phrase in phrases if phrase.strip() and utterance.yes_or_no(phrase) is not meaning] == []


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("twenty five", "25"),
        ("twenty-five", "25"),
        ("two hundred and one", "201"),
        ("two hundred", "200"),
        ("a hundred", "100"),
        ("hundred", "100"),
        ("one hundred and twenty", "120"),
        ("two thousand and one", "2001"),
        ("two thousand twenty six", "2026"),
        ("one million", "1000000"),
        ("two million three thousand", "2003000"),
        ("about three", "3"),
        ("i would say maybe seven or so", "7"),
        ("a dozen", "12"),
        ("half a dozen", "6"),
        ("twice", "2"),
        ("three times", "3"),
        ("half past three", "3.5"),
        ("quarter to nine", "8.75"),
        ("quarter past eight", "8.25"),
        ("8:30", "8.5"),
        ("eight o'clock", "8"),
        ("half", "0.5"),
        ("one and a half", "1.5"),
        ("three point one four", "3.14"),
        ("point five", "0.5"),
        ("minus five", "-5"),
        ("-5", "-5"),
        ("-2.5 degrees", "-2.5"),
        ("1,000", "1000"),
        ("12,500.50", "12500.5"),
        ("ten percent", "10"),
        ("none", "0"),
        ("none at all", "0"),
        ("none of them", "0"),
        ("two", "2"),
        ("too", "2"),
        ("for", "4"),
        ("seven out of ten", "7"),
        ("seven of ten", "7"),
        ("three no four", "4"),
        ("three sorry i mean five", "5"),
        ("no one", None),
        ("this one", None),
        ("every one of them", None),
        ("half past", None),
        ("three quarters", None),
        ("seven or eight", None),
        ("7-8", None),
        ("three to four", None),
        ("a few", None),
        ("a lot", None),
        ("nothing", None),
        ("i went to the market", None),
        ("for my sister", None),
    ],
)
def test_numbers_in_words_and_digits(said: str, number: str | None) -> None:
    assert utterance.number_in(said) == number


REPEAT = """
what | what? | What did you say? | sorry | sorry what | pardon | pardon me | i beg your pardon | excuse me | come again | huh | say again
say that again | say it again please | once more | one more time | can you repeat that | could you repeat the question please | repeat
what was that | what was the question | what is your question | what do you mean | i did not hear you | i didn't catch that
i can't hear you
i could not understand you | i did not understand the question | can you speak louder | speak up please | louder | a little slower please
can you say that more slowly | i missed that | you are breaking up | hello what did you say | sorry could you say that again
""".replace("\n", "|").split("|")
WHO = """
who is this | Who's this? | who is that | who are you | who's calling | who is calling please | who is speaking | hello who is this
who am i speaking to | who am i talking to | what is this | what is this about | what's this call about | who do you work for
what company is this | why are you calling | why are you calling me | what do you want | where are you calling from
how did you get my number | is this a robot | are you a robot | are you a real person | am i talking to a machine | is this a recording
sorry who is this | can i ask who is calling
""".replace("\n", "|").split("|")
GOODBYE = """
goodbye | good bye | bye | bye bye | okay bye bye | thank you goodbye | thanks bye | i have to go | sorry i have to go now
i've got to go
i gotta go | i need to go | i am hanging up | i can't talk now | i can't talk right now | i am busy
i'm very busy right now | i am driving
i'm at work | i am in a meeting | not a good time | this is not a good time | it's a bad time | i have no time
i don't have time right now
call me later | call me back later | call back later | can you call me back later | could you call another time | please call again later
talk to you later | see you | have a nice day | good night | let us stop here | can we stop here | can we end this call
""".replace("\n", "|").split("|")
ANSWERS = """
what a day | i say that again and again to my son | i did not hear from my sister | i met someone who is this tall
i said goodbye to a friend
i have to go to the doctor tomorrow | i am busy with my garden | i will call my brother later | my sister called me back later than usual
it was a bad time for all of us | i could not understand my doctor | good | fine thank you | i am at work every day until five
the robot vacuum is broken | see you is what he said | i have no time for my friends and that is hard
one more time around the park with the dog
""".replace("\n", "|").split("|")


@pytest.mark.parametrize(
    ("understands", "phrases"), [(utterance.asks_to_repeat, REPEAT), (utterance.asks_who, WHO), (utterance.says_goodbye, GOODBYE)]
)
def test_what_is_said_about_the_call(understands: object, phrases: list[str]) -> None:
    assert callable(understands)
    spoken = [phrase.strip() for phrase in phrases if phrase.strip()]
    assert [phrase for phrase in spoken if not understands(phrase)] == []
    rules = {utterance.asks_to_repeat, utterance.asks_who, utterance.says_goodbye, utterance.asks_to_stop} - {understands}
    assert [phrase for phrase in spoken if any(rule(phrase) for rule in rules)] == []


def test_an_answer_is_not_taken_for_words_about_the_call() -> None:
    for phrase in filter(None, (phrase.strip() for phrase in ANSWERS)):
        for rule in (utterance.asks_to_repeat, utterance.asks_who, utterance.says_goodbye, utterance.is_greeting, utterance.asks_to_stop):
            assert not rule(phrase), (rule.__name__, phrase)


@pytest.mark.parametrize(
    "piece", ["stop ", "do not call me ", "no one by ", "call me back ", "take me off ", "who is this ", "a hundred and ", "9,999 "]
)
def test_a_flood_of_words_is_judged_at_once(piece: str) -> None:
    began = time.perf_counter()
    for rule in (utterance.asks_to_stop, utterance.asks_to_repeat, utterance.asks_who, utterance.says_goodbye, utterance.yes_or_no):
        rule(piece * 2000)
    utterance.number_in(piece * 2000)
    # Milliseconds; a pattern that backtracks takes minutes.
    assert time.perf_counter() - began < 2
