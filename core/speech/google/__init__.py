"""Speech by Google Cloud: Speech-to-Text hears, Text-to-Speech speaks. The SDKs cost a second and 60 MB: import what you need."""
