"""Modal in our nouns: an app with one web function is a resource, and Modal starts and ends its containers."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime

from gpu_providers.base import (
    Boot,
    Bucket,
    Check,
    Kind,
    LaunchRequest,
    Offer,
    Provider,
    ProviderContext,
    Resource,
    Search,
    Secret,
    Volume,
    VolumeStore,
)
from gpu_providers.errors import CreateUnknown, InvalidRequest, ProviderError
from gpu_providers.modal_cloud import doctor
from gpu_providers.modal_cloud.apps import Apps
from gpu_providers.modal_cloud.boot import LOOK_POLLS, Crashes, boot
from gpu_providers.modal_cloud.launching import Launching
from gpu_providers.modal_cloud.logs import app_log
from gpu_providers.modal_cloud.offers import offers, why_none
from gpu_providers.modal_cloud.options import parse_options
from gpu_providers.modal_cloud.rates import Rates, rates
from gpu_providers.modal_cloud.session import Session
from gpu_providers.modal_cloud.volumes import VOLUME_PATH, Volumes

POLL_VARIABLE = "GPU_MODAL_POLL_S"
"""For tests against an emulator, whose time may run faster: seconds between two looks, instead of the usual ones."""

_LIST_LAG_POLLS = 6


class ModalProvider(Provider, VolumeStore):
    """One workspace of Modal, in the environment that is configured.

    Without a token every method that asks the cloud raises NoCredentials, but for those that never raise.

    `first_byte_limit_s` is None: the edge of a web Function answers 303 after 150 s, and whoever follows that gets the
    answer whenever it is there (modal.com/docs, guide/webhook-timeouts), as the OpenAI clients do. Servers have no such
    limit that is documented.
    """

    name = "modal"
    chooses_cards = True
    volume_path = VOLUME_PATH

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.poll_interval_s = float(context.environ.get(POLL_VARIABLE) or Provider.poll_interval_s)
        self.list_lag_s = _LIST_LAG_POLLS * self.poll_interval_s
        self._session = Session(context.environ)
        self._launching = Launching(self._session, context.state_dir)
        self._apps = Apps(self._session, Crashes(LOOK_POLLS * self.poll_interval_s), self._rates)
        self._volumes = Volumes(self._session)

    def offers(self, search: Search) -> Sequence[Offer]:
        options = parse_options(search.options)
        if search.kind not in (None, Kind.SERVERLESS):
            return ()
        return offers(search, options, self._rates())

    def why_no_offers(self, search: Search) -> str:
        return why_none(search)

    def launch(self, request: LaunchRequest) -> Resource:
        app_id = self._launching.launch(request, parse_options(request.options))
        try:
            return self.describe(app_id)
        except ProviderError as error:
            raise CreateUnknown(f"{request.name} was deployed, but: {error.message}", hint=error.hint) from error

    def find(self, name: str) -> Resource | None:
        return self._apps.find(name)

    def describe(self, resource_id: str) -> Resource:
        return self._apps.describe(resource_id)

    def boot(self, resource_id: str) -> Boot:
        resource = self.describe(resource_id)
        return boot(resource, self._launching.note(resource.name))

    def terminate(self, resource_id: str) -> None:
        self._apps.stop(resource_id)

    def list_resources(self) -> Sequence[Resource]:
        return self._apps.all()

    def logs(
        self,
        resource_id: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        return app_log(self._session, resource_id, tail=tail, follow=follow, stop=stop, poll_s=self.poll_interval_s)

    def check(self) -> Sequence[Check]:
        return tuple(doctor.checks(self._session, self._rates, lambda: self.offers(Search())))

    def edge_key(self, kind: Kind, name: str) -> Secret | None:
        return self._launching.tokens.read(name) if kind is Kind.SERVERLESS else None

    def forget(self, name: str) -> None:
        tokens = self._launching.tokens
        try:
            with self._session.call(f"delete the proxy token of {name}") as client:
                tokens.forget(client, name)
        except ProviderError:
            tokens.forget(None, name)

    def kept(self) -> Collection[str]:
        return self._launching.tokens.names()

    def account(self) -> str:
        """A fingerprint of the token's id: Modal would have to be asked for the workspace's name."""
        return self._session.account()

    def volumes(self) -> Sequence[Volume]:
        return self._volumes.all()

    def create_volume(self, name: str, size_gb: int, region: str) -> Volume:  # noqa: ARG002 - they grow, and are anywhere
        return self._volumes.create(name)

    def delete_volume(self, volume_id: str) -> None:
        self._volumes.delete(volume_id)

    def bucket(self, volume: Volume) -> Bucket:
        raise InvalidRequest(
            f"Modal's volumes cannot be filled over S3, and so not {volume.name}",
            hint="the first start downloads the weights into it",
        )

    def _rates(self) -> Rates:
        return rates(self._session, self.context.state_dir, datetime.now(UTC))
