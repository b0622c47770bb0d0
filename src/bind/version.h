/* The version of the library: the only place that holds it. `core.version` and the User-Agent come from here. */
#ifndef VLLM_VERSION_H
#define VLLM_VERSION_H

#define VLLM_VERSION "0.1.0"

#endif
