import json

from layerflow_core.pipeline import Run
from layerflow_core.run_record import describe_run


def test_a_record_names_all_that_a_run_is_made_of(quick_model, quick):
    run = Run({"foreground": "a star"}, {}, quick, 7)
    facts = describe_run(quick_model, run, "generate")
    assert (facts["seed"], facts["steps"], facts["given"]) == (7, 2, [])
    assert facts["prompts"] == {"foreground": "a star"} and facts["task"] == "generate"
    assert len(facts["checkpoint_sha256"]) == 64
    assert json.loads(json.dumps(facts)) == facts
