"""English: a time names its time zone, because the reader may be in another one."""

DATE_FORMAT = "j M Y"
DATETIME_FORMAT = "j M Y, H:i T"
