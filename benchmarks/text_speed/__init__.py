"""The parts of data.py: what is measured of text on its way into training, and against what."""
