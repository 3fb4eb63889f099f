"""Upload an exported model to the Hugging Face hub. Nothing here runs unless a user asks for it."""

from dataclasses import dataclass
from pathlib import Path

from apollo_ds.checkpoint.export_manifest import CARD
from apollo_ds.errors import UserError
from data_prep.errors import first_line

_WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]
"""Weight files of an earlier upload. They are deleted, since the new model would be loaded with them."""


@dataclass(frozen=True)
class HubModel:
    """A model on the hub, to which exports are uploaded."""

    name: str
    """`USER/MODEL` or `ORGANISATION/MODEL`."""
    private: bool = False
    """Whether the model is hidden from the public."""

    def check(self) -> None:
        """Check what can be checked before an upload without contacting the hub.

        Raises:
            UserError: the name is not valid, HF_HUB_OFFLINE forbids contact with the hub, or there is no token.
        """
        from huggingface_hub import get_token, is_offline_mode
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(self.name)
        except HFValidationError:
            raise UserError(f"--push {self.name}: is not a model's name; write USER/MODEL, such as me/demo") from None
        if "/" not in self.name:
            raise UserError(f"--push {self.name}: lacks its owner; write USER/MODEL, such as me/{self.name}")
        if is_offline_mode():
            raise UserError("--push: HF_HUB_OFFLINE forbids asking the hub; unset it, or leave out --push")
        if get_token() is None:
            raise UserError(
                "--push: there is no token of the Hugging Face hub; run `hf auth login`, or put one into HF_TOKEN"
            )

    def upload(self, folder: Path, message: str) -> str:
        """Upload all files of a folder in one commit, and return the model's address. A new model is created if needed.

        Raises:
            UserError: the hub cannot be reached, or refuses the model.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        api = HfApi()
        try:
            made = api.create_repo(self.name, private=self.private or None, exist_ok=True)
            if self.private and not api.model_info(self.name).private:
                raise UserError(
                    f"--push {self.name}: already exists, and is public; make it private on the hub, leave "
                    "out --private, or give another name"
                )
            api.upload_folder(repo_id=self.name, folder_path=folder, commit_message=message, delete_patterns=_WEIGHTS)
        except HfHubHTTPError as error:
            raise UserError(
                f"--push {self.name}: {self._refusal(error.response.status_code, first_line(error))}"
            ) from None
        except UserError:
            raise
        except ValueError as error:  # `upload_folder` raises it for a mistake in the model card's header
            said = " ".join(str(error).split())
            raise UserError(f"--push {self.name}: {said}; mend {folder / CARD}, or give another --license") from None
        except Exception as error:  # a missing network shows as errors of many classes
            raise UserError(
                f"--push {self.name}: the hub cannot be reached ({first_line(error)}); {folder} is complete, so "
                "run the same command again when there is a network"
            ) from None
        return str(made)

    def _refusal(self, status: int, said: str) -> str:
        if status == 401:
            return "the hub does not know the token; run `hf auth login` again, or put another one into HF_TOKEN"
        if status == 403:
            return "the token may not write there; use a token that may write, or give another name"
        return f"the hub does not take the model ({said}); try again later, or give another name"
