"""Studies: questions answered over a table, a folder each; one is loaded when a report asks for it."""

STUDIES: dict[str, str] = {  # the name in a spec: where its `Study` stands, as module:name
    "stability": "relusweep.analysis.studies.stability.study:STUDY",
    "compare": "relusweep.analysis.studies.compare.study:STUDY",
    "depth_separation": "relusweep.analysis.studies.depth_separation.study:STUDY",
}
