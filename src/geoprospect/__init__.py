"""Mineral prospectivity mapping on rasters: from geochemical samples and known deposits to a probability map.

The stub beside this file lists the public names. Each is loaded when it is first used, so that
`import geoprospect` stays light.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
