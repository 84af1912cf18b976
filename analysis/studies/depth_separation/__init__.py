"""The study `depth_separation`: which targets do shallow networks lose at a large step that deep ones keep?"""
