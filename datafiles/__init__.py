"""Data sets on disk: found, fetched, decoded once and read.

Nothing here imports anything else of this project.

names, checks          category names; what every data set must hold
fetch, locks           downloads end and are verified, and one process writes at a time
idx                    files in MNIST's format
mnist, svhn, official  data sets that can be fetched
arrays                 selects categories of a data set that is read as a whole
folders, layout        the files of a category; which folders are categories and splits
lsun                   LSUN's LMDBs
decode, build, cache   encoded images become uint8 pixels, once, in a file that is memory-mapped
"""
