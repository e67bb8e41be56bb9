"""Numbers that Memory Replay GANs (Wu et al., NeurIPS 2018, "MeRGAN") published."""

# MeRGAN, table 1: accuracy in percent, by data set and number of tasks
PAPER = {
    ("mnist", 5): {
        "joint": 97.66,
        "sft": 19.87,
        "ewc": 70.62,
        "dgr": 90.39,
        "mergan_jtr": 97.93,
        "mergan_ra": 98.19,
    },
    ("mnist", 10): {
        "joint": 96.92,
        "sft": 10.06,
        "ewc": 77.03,
        "dgr": 85.40,
        "mergan_jtr": 97.00,
        "mergan_ra": 97.01,
    },
    ("svhn", 5): {
        "joint": 85.30,
        "sft": 19.35,
        "ewc": 39.84,
        "dgr": 61.29,
        "mergan_jtr": 80.90,
        "mergan_ra": 76.05,
    },
    ("svhn", 10): {
        "joint": 84.82,
        "sft": 10.10,
        "ewc": 33.02,
        "dgr": 47.28,
        "mergan_jtr": 66.50,
        "mergan_ra": 66.78,
    },
}
