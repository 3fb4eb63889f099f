"""Where results go."""

from pathlib import Path

from apollo_ds.saved_models.results_folder import results_folder


def test_results_go_into_the_run_or_are_named_after_the_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "export").mkdir(parents=True)
    (run / "config.yaml").write_text("")
    assert results_folder(str(run), "finetune") == results_folder(str(run / "export"), "finetune") == run / "finetune"
    assert results_folder("google-bert/bert-base-uncased", "eval") == Path("eval/bert-base-uncased")
