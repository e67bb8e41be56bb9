"""Data sets on disk: found, fetched, decoded once and read.

Of this project, nothing here imports anything else but files and progress, of support.

names, checks          category names; what every data set must hold

    Data sets of 32×32 images, which are read as a whole:

idx                    files in MNIST's format
fetch, wheel           downloads that end, are verified, and appear whole; MNIST from a package
official               MNIST and others, where they are or from their sites
arrays                 what these give, and the categories selected from it

    Encoded images of any size:

folders, lsun          the encoded images of a category, from a folder or an LMDB
layout                 which folders are categories, and which are splits
decode                 an encoded image becomes uint8 pixels
build, cache           all of them do so once, into a file for each split that is memory-mapped
"""
