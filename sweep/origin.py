"""Origin: `[from]` of a spec: the store in which its runs' weights are, the step, and how those trainings differed."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from relusweep.sweep.arguments import canonical
from relusweep.sweep.spec_error import checked


class Origin(BaseModel):
    """The table. What it holds besides are parameters of the trainings from which the runs branch off."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    store: str
    step: Annotated[int, Field(ge=1, lt=2**31)]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the trainings there had, where the runs have something else."""
        return dict(self.model_extra or {})

    def fixed(self, place: str) -> dict[str, Any]:
        """Return what it says of each run, as parameters.

        Raises:
            SpecError: for the first parameter that is none.
        """
        given = {key: checked(key, value, f"{place}.{key}") for key, value in self.parameters.items()}
        return {"from_step": self.step} | ({"from_parameters": canonical(given)} if given else {})
