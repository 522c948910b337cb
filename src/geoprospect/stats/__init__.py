"""Statistics of scores and maps: ROC AUC, intervals, weights of evidence, success rates, calibration."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
