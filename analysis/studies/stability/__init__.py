"""The study `stability`: which minima does gradient descent of step size η converge to?"""
