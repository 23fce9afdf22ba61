"""Frequent words of everyday speech, beside a plan's own: what is none of the plan's must have something else to be heard as.

A recogniser bends whatever it hears into the words it has. With only a plan's phrases to choose from, one sentence in ten
about the weather became a wish never to be called again; with these to choose from, none did. Heard, they are not kept.
"""

_WORDS = """
    a able about actually after afternoon again against ago agree all almost already also always am an and another any
    anyone anything are around as ask at ate away back bad be because been before being believe best better between big
    bit both bought breakfast brother bus business but buy by call called calls came can can't car cards care case cause
    change children church close come comes coming company cooked cool could couple course daughter day days deal
    definitely did didn't different dinner do doctor does doesn't doing don't done door down during each eight eighty
    either else end enough even evening ever every everyone everything exactly fact family far father feel few fifty
    film find first five food for forty found four free friend friends from fun garden get gets getting give go going
    good got grandson great guess guy guys had half happen happened happy hard has have haven't having he he's hear
    heard help her here hey hi high him his home hope hospital hours house how i i'd i'll i'm i've idea if important in
    interest interesting into is isn't it it's its job just keep kids kind kinda kitchen know last later least left less
    let let's letter life like listen lists little live long look looking looks lot love lunch made make makes making
    man many matter may maybe me mean medicine might mind minutes money months more morning most mother moved much music
    must my myself name need never new news next nice night nine ninety no not nothing now number numbers of off okay
    old on once one only open or other our out over own pain parents part past pay people person phone pills place play
    point pretty probably problem public put question quite rain read real really reason remember removed right run said
    same saw say saying says school second see seems seen set seven seventy she she's should show side since sister six
    sixty slept small so some someone something sometimes son sorry sort start started stay still stop stopped stops
    stuff such sure system table take taking talk talking television tell ten than thank thanks that that's the their
    them then there there's these they they're thing things think thinking thirty this those though thought three
    through time times tired to today together told tomorrow too took top true try trying twenty two under understand
    until up us use used very visit visited waiting walk want wanted was wasn't watch way we we're weather week well
    went were what what's whatever when where whether which while who whole why will window with without won't work
    working world worried would wouldn't wrong yeah year years yes yesterday yet you you're you've young your
"""
EVERYDAY_WORDS = frozenset(_WORDS.split())
