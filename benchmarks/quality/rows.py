"""One figure of one method, under a permanent id; and what the ids are held against.

Ids never change meaning; a figure that is defined anew gets a new id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.quality.bootstrap import Group, estimate, interval

#: Short name of a set inside ids.
SHORT = {
    "ur3_cobotops": "UR3",
    "sme_cycles": "SME",
    "cmapss": "CMAPSS",
    "pronostia": "PRONOSTIA",
    "ims": "IMS",
    "ppd": "PPD",
    "skab": "SKAB",
    "tep": "TEP",
    "hrss": "HRSS",
    "nab": "NAB",
    "genesis": "GENESIS",
    "asd": "ASD",
    "smd": "SMD",
    "smap_msl": "SMAPMSL",
    "gecco2018": "GECCO",
    "gutentag": "GUTENTAG",
    "touchstone": "TOUCHSTONE",
    "tsb_ad_u": "TSB",
}


@dataclass(frozen=True)
class Row:
    """One figure of one method.

    Attributes
    ----------
    id : str
        Permanent.
    what : str
        The figure in words.
    value : float
        NaN where it cannot be formed.
    low, high : float
        95 % bootstrap interval; NaN where none is given.
    detail : str
        k/n, the unit, or what else belongs beside the value.
    units : tuple of groups of (top, bottom)
        What the figure is the mean over groups of Σ top / Σ bottom of; empty where it is none.
    scale : float
        By what that estimate is multiplied to give the value.
    """

    id: str
    what: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    detail: str = ""
    units: tuple[Group, ...] = ()
    scale: float = 1.0


@dataclass(frozen=True)
class Mark:
    """What a figure is held against on the part of the data at hand.

    Attributes
    ----------
    record : str
        Best published or known figures, in words.
    aim : float
        The project's aim.
    at_most : bool
        Whether less is better.
    """

    record: str
    aim: float
    at_most: bool = False


#: Published and known figures on the part of each set at hand, and the aims.
MARKS = {
    "Q-EVENT-MEAN-R": Mark("stack of the trials 0.51 over other sets", 0.60),
    "Q-EVENT-MEAN-GAIN": Mark("simple charts about 0", 0.20),
    "Q-PROMISE-RATIO": Mark("nobody publishes it; 0.5 to 1.5", 1.5, at_most=True),
    "Q-PROMISE-ROWS": Mark("", 2.0, at_most=True),
    "Q-NAB-STD": Mark("ARTime 78.1, CAD OSE 74.1, Numenta HTM 71.2, random cut forest 52.0", 79.0),
    "Q-NAB-LFP": Mark("", 71.0),
    "Q-NAB-LFN": Mark("", 84.0),
    "Q-NAB-STD-ALERTS": Mark("", 70.0),
    "Q-SKAB-F1": Mark("MSET 0.779, T²+Q 0.760, Conv-AE 0.755, always-alarm 0.698", 0.87),
    "Q-SKAB-FAR": Mark("", 0.10, at_most=True),
    "Q-TSB-VUSPR": Mark("Sub-PCA 0.425, matrix profile 0.450, TSPulse fine-tuned 0.547", 0.62),
    "Q-UCR-TOP1": Mark("matrix profile about 0.52, TimeVQVAE-AD 0.71", 0.72),
    "Q-TOUCH-ROC": Mark("KMeans 0.699, TiRex 0.685, stumpi 0.641 over all 20 series", 0.85),
    "Q-TOUCH-PR": Mark("KMeans 0.180, TiRex 0.104, stumpi 0.148 over all 20 series", 0.45),
    "Q-TOUCH-SECONDS": Mark(
        "KMeans 0.48, TiRex 288, stumpi 324 over all 20 series", 2.0, at_most=True
    ),
    "Q-TEP-RATE": Mark("PCA T² or Q 0.508", 0.75),
    "Q-HRSS-AP": Mark("Mahalanobis 0.351", 0.55),
    "Q-IMS-LEAD": Mark("band energy 74 h, RMS-EWMA 72 h", 80.0),
    "Q-IMS-OTHERS": Mark("", 0.0, at_most=True),
}


def ratio_row(
    row_id: str, what: str, groups: Sequence[Group], detail: str = "", scale: float = 1.0
) -> Row:
    """Row of a mean over groups of Σ top / Σ bottom, with its interval."""
    units = tuple(groups)
    low, high = interval(units)
    value = estimate(units)
    return Row(row_id, what, value * scale, low * scale, high * scale, detail, units, scale)
