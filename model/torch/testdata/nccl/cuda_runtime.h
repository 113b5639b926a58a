// What nccl.h needs of CUDA.
#pragma once
#include <stddef.h>
typedef struct CUstream_st *cudaStream_t;
