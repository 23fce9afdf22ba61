"""What a contact means by a few words, on any channel: stop for good, say it again, who are you, yes or no, a number.

Pure rules over text as a recogniser writes it: lower or mixed case, little punctuation, words misheard. Nothing here
raises for any text. Each of the modules behind this door holds one of the rules.
"""

from __future__ import annotations

from core.domain.about_the_call import asks_to_repeat, asks_who, is_backchannel, is_greeting, says_goodbye
from core.domain.opt_out import asks_to_stop
from core.domain.spoken_numbers import number_in
from core.domain.spoken_words import content_words, words
from core.domain.yes_no import yes_or_no

__all__ = [
    "GOODBYE_PHRASES",
    "NO_PHRASES",
    "NUMBER_WORDS",
    "OPT_OUT_PHRASES",
    "REPEAT_PHRASES",
    "WHO_PHRASES",
    "YES_PHRASES",
    "asks_to_repeat",
    "asks_to_stop",
    "asks_who",
    "content_words",
    "is_backchannel",
    "is_greeting",
    "number_in",
    "says_goodbye",
    "words",
    "yes_or_no",
]

# Phrases a recogniser is told to expect in every conversation, everyday ones and unlike each other: "yep" beside "not yet"
# was heard for it, and "i have to go" beside "yes i have", which turns an answer round. What is understood, once heard, is far more.
OPT_OUT_PHRASES = (
    "stop calling me",
    "please stop calling me",
    "please stop calling",
    "stop these calls",
    "please stop",
    "don't call me again",
    "don't call me anymore",
    "please don't call again",
    "don't call this number",
    "no more calls please",
    "i don't want these calls",
    "i don't want any more calls",
    "i don't want you to call me",
    "take me off your list",
    "take me off the list",
    "take my name off your list",
    "remove me from your list",
    "remove my number",
    "please leave me alone",
    "i am not interested",
    "wrong number",
    "you have the wrong number",
    "you have the wrong person",
)
REPEAT_PHRASES = ("can you repeat that", "say that again", "what did you say", "pardon")
WHO_PHRASES = ("who is this", "who is calling", "who are you")
GOODBYE_PHRASES = ("goodbye", "bye bye", "call me back later", "i can't talk now")
YES_PHRASES = ("yes", "yeah", "of course", "yes i did", "yes i have", "i did", "i have")
NO_PHRASES = ("no", "not yet", "no i did not", "no i have not", "i did not", "i have not", "i forgot")
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
