"""The fixture that the tests of recipes share."""

from least_recipe import recipe_file

__all__ = ["recipe_file"]
