"""Uploads to the hub: only what is asked for, and in one sentence where they cannot be."""

from pathlib import Path

import pytest
from exported_runs import content, old_run
from hub import Hub, serve
from huggingface_hub import constants

from apollo_ds.__main__ import main
from apollo_ds.checkpoint.export_push import HubModel
from apollo_ds.errors import EXIT_USER_ERROR, UserError


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with no model, which an environment with a token asks."""
    with serve(Hub()) as served:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        monkeypatch.setenv("HF_TOKEN", "hf_token")
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    return made


def refusal(name: str, folder: Path, private: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        HubModel(name, private).upload(folder, "A message")
    return str(caught.value)


def test_a_folder_is_uploaded_in_one_commit(hub: Hub, folder: Path) -> None:
    hub.files = {"model-00001-of-00002.safetensors": b"old", "notes.txt": b"theirs"}
    model = HubModel("me/small")
    model.check()
    assert model.upload(folder, "step-8 of run") == f"{hub.address}/me/small"
    assert hub.files == {"notes.txt": b"theirs", **content(folder)}
    assert hub.messages == ["step-8 of run"]
    assert hub.is_private is False
    model.upload(folder, "again")


def test_private_is_kept(hub: Hub, folder: Path) -> None:
    HubModel("me/small", private=True).upload(folder, "A message")
    assert hub.is_private
    hub.is_private, hub.files = False, {}
    assert "already exists, and is public" in refusal("me/small", folder, private=True)
    assert not hub.files


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "the hub does not know the token; run `hf auth login` again, or put another one into HF_TOKEN"),
        (403, "the token may not write there; use a token that may write, or give another name"),
        (500, "the hub does not take the model ("),
    ],
)
def test_a_refusal_is_told_in_a_sentence(status: int, told: str, hub: Hub, folder: Path) -> None:
    hub.refuses_with = status
    assert refusal("me/small", folder).startswith(f"--push me/small: {told}")


def test_a_card_that_the_hub_does_not_take(hub: Hub, folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: none-such\n---\n")
    hub.errors_of_card = ["license must be one of apache-2.0, mit"]
    assert refusal("me/small", folder) == (
        "--push me/small: Invalid metadata in README.md. - license must be one of apache-2.0, mit; mend "
        f"{folder}/README.md, or give another --license"
    )
    assert not hub.files


def test_a_hub_that_cannot_be_reached(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    told = refusal("me/small", folder)
    assert told.startswith("--push me/small: the hub cannot be reached (")
    assert f"{folder} is complete, so run the same command again" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("small", "lacks its owner; write USER/MODEL, such as me/small"),
        ("a b/c", "is not a model's name; write USER/MODEL, such as me/demo"),
        ("", "is not a model's name; write USER/MODEL, such as me/demo"),
    ],
)
def test_a_name_is_checked_before_anything_is_exported(name: str, told: str, hub: Hub) -> None:
    with pytest.raises(UserError, match=told):
        HubModel(name).check()


def test_nothing_is_asked_offline_or_without_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    with pytest.raises(UserError, match="there is no token of the Hugging Face hub; run `hf auth login`"):
        HubModel("me/small").check()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids"):
        HubModel("me/small").check()


def test_the_command_exports_and_uploads(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old_run(tmp_path, monkeypatch)
    main(["export", "run", "model", "--license", "mit", "--push", "me/small", "--private"])
    assert hub.files == content(Path("model"))
    assert hub.is_private
    assert hub.messages == ["step-8 of run"]
    assert b'model="me/small"' in hub.files["README.md"]
    assert capsys.readouterr().out.splitlines()[-1] == f"Uploaded to {hub.address}/me/small"


def test_private_without_an_upload_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "run", "model", "--private"])
    assert ended.value.code == EXIT_USER_ERROR
    assert "--private: is for an upload; give --push USER/MODEL too" in capsys.readouterr().err
