"""Types that every other package shares. No torch, no numpy, no asyncio.

Model plane: request, sampling_params, token_ids, outputs, stats. Platform plane, as formats that
two processes share: routes, gateway_stats, and home, the folder of both. Both planes: errors,
options, clock.
"""
