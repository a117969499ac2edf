"""``mirage-web``: restore photographs and short videos in a browser, or over HTTP. Needs the extra ``web``."""
