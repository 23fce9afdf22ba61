"""Local speech: eSpeak NG speaks, PocketSphinx hears. No account, no internet."""

from core.speech.local.recognizer import SphinxRecognizer
from core.speech.local.voice import EspeakSynthesizer

__all__ = ["EspeakSynthesizer", "SphinxRecognizer"]
