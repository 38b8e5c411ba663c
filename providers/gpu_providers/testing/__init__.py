'''The conformance suite that every provider passes, for ours and for plug-ins.

A plug-in proves itself with one test file, run by pytest:

    from gpu_providers.testing.conformance import ProviderConformance

    class TestMyCloud(ProviderConformance):
        timeout_s = 300.0  # how long a resource may take to come up, and to go

        @pytest.fixture
        def provider(self, tmp_path):
            return MyCloud(ProviderContext(tmp_path, os.environ))

        @pytest.fixture
        def request_for(self, provider):
            """A request whose command prints `conformance: up` and stays."""
            offer = min(provider.offers(Search()), key=lambda offer: offer.price_usd_per_hour)
            return lambda name: LaunchRequest(name=name, offer=offer, ...)

        @pytest.fixture
        def crash(self):
            """Makes the command of a running resource die, as an engine does that runs out of memory."""
            return lambda resource: ...

It needs pytest, which this package does not depend on. Against a real cloud it rents what it tests and pays for it;
whatever a test has launched is terminated at its end.
'''
