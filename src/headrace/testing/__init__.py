"""Doubles, servers, processes and models for tests, of Headrace and of its users.

Take the first row that serves the test:

| to test                                        | take                                        |
|------------------------------------------------|---------------------------------------------|
| loaders, decoder, engine with real arithmetic  | ``models.tiny_models``, ``models.tiny_gguf``|
| fetching models from wheels                    | ``models.gguf_wheel``                       |
| `headrace serve` from end to end               | ``processes.server_process``                |
| `headrace up`, its API, gateway and replicas   | ``processes.platform_process``              |
| the gateway in front of given replicas         | ``processes.gateway_process`` with          |
|                                                | ``processes.replica_process``,              |
|                                                | ``route_tables``                            |
| the control plane in this process              | ``processes.control_plane`` (all of it),    |
|                                                | ``processes.control_api`` (API and store),  |
|                                                | ``processes.controlled_runs`` (runs)        |
| scheduler and engine core without a model      | ``fakes.fake_runner``                       |
| the server or its core process without a model | ``fakes.fake_core``, ``fakes.fake_model``   |
| clients and load generators at high rates      | ``servers.mock_server``                     |
| a client against exact bytes of a server       | ``servers.scripted_server``                 |
| the gateway against exact bytes of a replica   | ``servers.scripted_replica``                |
| a replica that blocks its event loop           | ``servers.blocking_server``                 |
| a replica that some requests end               | ``servers.mortal_server``                   |

Beside the folders: plain HTTP (``raw_http``), continuous verified load (``steady_load``), a
server's metrics (``metrics_page``), TLS files (``certificates``), values at the edges of a JSON
schema (``extreme_values``), and all interleavings of threads (``interleavings``).
"""
