"""Numbers that Memory Replay GANs (Wu et al., NeurIPS 2018, "MeRGAN") published."""

METHODS = ("joint", "sft", "ewc", "dgr", "mergan_jtr", "mergan_ra")
# MeRGAN, table 1: accuracy in percent, by data set and number of tasks
TABLE_1 = {
    ("mnist", 5): (97.66, 19.87, 70.62, 90.39, 97.93, 98.19),
    ("mnist", 10): (96.92, 10.06, 77.03, 85.40, 97.00, 97.01),
    ("svhn", 5): (85.30, 19.35, 39.84, 61.29, 80.90, 76.05),
    ("svhn", 10): (84.82, 10.10, 33.02, 47.28, 66.50, 66.78),
}
PAPER = {setting: dict(zip(METHODS, row)) for setting, row in TABLE_1.items()}
