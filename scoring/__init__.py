"""What eval.py and figures.py use to score and draw saved generators.

The way of a score, module by module:

    runs.py         what a run left behind: arguments, log, saved generators
    reference.py    the real images, and what they would score themselves
    judge.py        the classifier by which images are scored: shipped, or trained
    drawing.py      images from a saved generator
    metrics.py      measures of features, and of matrices of scores
    scores.py       the scores of a saved generator, and of a whole run: eval.json
    tables.py       the table over runs

Beside it: store.py keeps scores on disk, inception.py has other features for FID, film.py keeps
what a run painted, and ship.py trains a judge that is shipped.
"""
