"""docs/architecture.md: up to date with the imports, arrows only downwards, no circles."""

import graphlib

import generate_architecture


def test_the_page_is_up_to_date():
    page = generate_architecture.PAGE.read_text(encoding="utf-8")
    assert page == generate_architecture.render(), "run `make docs`"


def test_arrows_point_only_downwards_and_make_no_circle():
    modules = generate_architecture.read_modules()
    found = generate_architecture.arrows(modules)
    assert not generate_architecture.upwards(found, generate_architecture.ROWS)
    graph: dict[str, set[str]] = {}
    for start, end in found:
        graph.setdefault(start, set()).add(end)
    graphlib.TopologicalSorter(graph).prepare()


def test_every_package_says_its_purpose_in_one_line():
    modules = generate_architecture.read_modules()
    packages = [name for name in modules if generate_architecture.is_package(name)]
    assert len(packages) > 10
    for name in packages:
        assert generate_architecture.purpose(name, modules).endswith("."), name


def test_only_the_arrows_that_no_longer_path_implies_are_drawn():
    found = {("a", "b"): 1, ("b", "c"): 1, ("a", "c"): 1}
    assert generate_architecture.essential(found) == [("a", "b"), ("b", "c")]


def test_an_arrow_upwards_is_found():
    assert generate_architecture.upwards({("low", "high"): 1}, ["high", "low"])
    assert not generate_architecture.upwards({("high", "low"): 1}, ["high", "low"])
