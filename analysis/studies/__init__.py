"""Questions answered over a table, one file each; `module:function` is loaded when a report asks for it."""

STUDIES: dict[str, str] = {
    "stability": "analysis.studies.stability:study",
    "depth_separation": "analysis.studies.depth_separation:study",
}
