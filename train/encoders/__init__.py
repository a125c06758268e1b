"""Networks: recipes, backbones, heads, scaling, imported weights."""
