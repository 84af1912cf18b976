"""Questions answered over a table, one file each; `module:function` is loaded when a report asks for it."""

STUDIES: dict[str, str] = {
    "stability": "relusweep.analysis.studies.stability.study:study",
    "depth_separation": "relusweep.analysis.studies.depth_separation.study:study",
}
