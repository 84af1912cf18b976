"""Tests mirror the code, file for file; what does not is named here, with where it is tested."""

from pathlib import Path

import pytest

from tests.test_architecture import ROOT, SOURCES

TESTS = sorted(path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py"))

# Files of tests that are about no one module, and what they are about.
SCENARIOS = {
    "test_architecture.py": "the rooms",
    "test_face.py": "what `import relusweep` offers",
    "test_install.py": "the Makefile and what it installs",
    "test_mirror.py": "the tests",
    "test_words.py": "the glossary",
    "analysis/floor/test_public.py": "what `analysis.floor` offers",
    "chaos/test_campaign.py": "what `make chaos` runs",
    "cli/test_misuse.py": "every command",
    "cli/test_mnist.py": "real images",
    "cli/test_specs.py": "the specs that are shipped",
    "cluster/test_company.py": "launchers that meet on one store",
    "cluster/test_contract.py": "every back-end",
    "cluster/test_disk.py": "full disks",
    "cluster/ray/test_monitoring.py": "the files of slurm/monitoring",
    "cluster/slurm/test_cluster.py": "the SLURM cluster of the tests",
    "cluster/slurm/test_disturbed.py": "signals, limits and dying nodes",
    "cluster/slurm/test_ray_job.py": "Ray in a SLURM job",
    "docs/test_commands.py": "commands that the pages show",
    "docs/test_pages.py": "links of the pages",
    "docs/test_site.py": "the site",
    "sweep/test_science.py": "closed forms and what papers found",
    "sweep/kernels/measures/test_curvature.py": "both sets of compiled measures",
    "sweep/kernels/measures/test_kinks.py": "both sets of compiled measures",
    "sweep/store/test_older.py": "stores of every version",
}

# Modules whose tests stand in a file of another name.
ELSEWHERE = {
    "cluster/slurm/written.py": "cluster/slurm/test_submission.py",
    "sweep/measured.py": "sweep/test_extra_measures.py",
    "analysis/studies/depth_separation/captions.py": "analysis/studies/depth_separation/test_figures.py",
    "analysis/studies/depth_separation/claim.py": "analysis/studies/depth_separation/test_study.py",
    "analysis/studies/stability/captions.py": "analysis/studies/stability/test_figures.py",
    "analysis/studies/stability/panels.py": "analysis/studies/stability/test_figures.py",
    "analysis/studies/compare/captions.py": "analysis/studies/compare/test_study.py",
    "sweep/array_file.py": "sweep/test_data_file.py",
    "sweep/shelf.py": "sweep/test_contents.py",
    "cluster/finding.py": "cluster/test_doctor.py",
    "cluster/pack_size.py": "cluster/local/test_backend.py",
    "cluster/host/orphans.py": "cluster/ray/test_guard.py",
    "cluster/ray/doctor.py": "cluster/test_doctor.py",
    "cluster/ray/driver.py": "cluster/ray/test_backend.py",
    "cluster/ray/folder.py": "cluster/ray/test_cluster.py",
    "cluster/ray/job.py": "cluster/slurm/test_ray_job.py",
    "cluster/ray/node.py": "cluster/slurm/test_ray_job.py",
    "cluster/ray/start.py": "cluster/slurm/test_ray_job.py",
    "cluster/ray/token.py": "cluster/ray/test_cluster.py",
    "cluster/ray/trial.py": "cluster/ray/test_backend.py",
    "cluster/slurm/doctor.py": "cluster/test_doctor.py",
    "cluster/slurm/outcomes.py": "cluster/slurm/test_backend.py",
    "relusweep/__main__.py": "cluster/host/test_safe_path.py",
    "relusweep/cli/arguments.py": "cli/test_misuse.py",
    "relusweep/cli/cancel.py": "cluster/slurm/test_backend.py",
    "relusweep/cli/doctor.py": "cluster/test_doctor.py",
    "relusweep/cli/store_lines.py": "cli/test_status.py",
    "relusweep/cli/watch.py": "cli/test_status.py",
    "sweep/dataset.py": "sweep/test_data.py",
    "sweep/derivatives.py": "sweep/test_measure.py",
    "sweep/device.py": "sweep/test_execute.py",
    "sweep/errors.py": "cli/test_misuse.py",
    "sweep/kernels/measures/krylov.py": "sweep/kernels/measures/test_curvature.py",
    "sweep/kernels/measures/layered/curvature.py": "sweep/kernels/measures/test_curvature.py",
    "sweep/kernels/measures/layered/kinks.py": "sweep/kernels/measures/test_kinks.py",
    "sweep/kernels/measures/layered/network.py": "sweep/kernels/measures/test_curvature.py",
    "sweep/kernels/measures/layered/survey.py": "sweep/kernels/measures/test_survey.py",
    "sweep/kernels/measures/shallow/arrays.py": "sweep/kernels/measures/test_curvature.py",
    "sweep/kernels/measures/shallow/curvature.py": "sweep/kernels/measures/test_curvature.py",
    "sweep/kernels/measures/shallow/kinks.py": "sweep/kernels/measures/test_kinks.py",
    "sweep/kernels/measures/shallow/survey.py": "sweep/kernels/measures/test_survey.py",
    "sweep/kernels/training/kernel.py": "sweep/kernels/training/test_choice.py",
    "sweep/kernels/training/resident.py": "sweep/kernels/training/test_persistent.py",
    "sweep/spec_error.py": "sweep/test_spec.py",
    "sweep/point.py": "sweep/test_measure.py",
    "sweep/results.py": "sweep/test_execute.py",
}


def mirror(source: Path) -> Path:
    """Return the file of a module's own tests, below tests/."""
    inside = source.relative_to("relusweep") if source.parts[0] == "relusweep" else source
    return inside.with_name(f"test_{source.stem}.py")


MODULES = {str(found): mirror(found) for path in SOURCES if (found := path.relative_to(ROOT)).name != "__init__.py"}


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_tests_are_about_a_module_or_named_as_a_scenario(test: Path) -> None:
    is_mirror = test in MODULES.values() or (ROOT / test.parent / test.stem.removeprefix("test_")).is_dir()
    if test.parts[0] == "docs":
        is_mirror = (ROOT / test.parent / f"{test.stem.removeprefix('test_')}.py").exists()
    assert is_mirror != (str(test) in SCENARIOS), f"tests/{test}: mirrors a module, or stands in SCENARIOS; not both"


@pytest.mark.parametrize("source", MODULES)
def test_modules_have_tests_of_their_name_or_are_named_with_where_theirs_are(source: str) -> None:
    assert (MODULES[source] in TESTS) != (source in ELSEWHERE), f"{source}: has own tests, or stands in ELSEWHERE"


@pytest.mark.parametrize("test", sorted({*SCENARIOS, *ELSEWHERE.values()}))
def test_files_that_are_named_here_are_there(test: str) -> None:
    assert Path(test) in TESTS
    assert set(ELSEWHERE) <= set(MODULES)
