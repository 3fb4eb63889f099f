"""The pictures of docs/concepts/, one file each. `make pictures` draws them.

Each file has `facts`, which asks the real objects, and `draw`, which draws what they say. What is drawn is in the
picture's file too, so that a test sees when a committed picture is no longer true.
"""
