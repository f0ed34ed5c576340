"""One file a method. `recipe.kind: cyclegan` in a config is `cyclegan.py` here; there is no list to edit."""

from translate.recipes.base import Comparison, Recipe, Turn, find

__all__ = ["Comparison", "Recipe", "Turn", "find"]
