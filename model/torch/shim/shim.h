// The engine's C interface: what gotch lacks or gets wrong. Every function that can fail returns NULL or a message that
// the caller frees; exceptions never cross. A tensor is an at::Tensor*, owned by whoever received it in an out
// parameter.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void *lt_tensor;
typedef void *lt_store;
typedef void *lt_comm;
typedef void *lt_work;

// engine.cpp: the library, threads, devices, memory.
char *lt_open_cuda(const char *path, int *devices);
void lt_keep_memory(void);            // freed memory stays with the process
const char *lt_built_against(void);  // libtorch version of the headers
char *lt_show_config(char **out);
char *lt_device_memory(int index, int64_t *total, int64_t *peak);
void lt_count_memory(void);
int64_t lt_allocated(void);
int64_t lt_peak_allocated(void);
void lt_reset_peak_allocated(void);
char *lt_synchronize(void);
char *lt_set_threads(int n);
int lt_threads(void);
char *lt_deterministic(void);

// tensor.cpp: data in and out, views, gradients.
void lt_free(lt_tensor t);
char *lt_empty(const int64_t *shape, int dims, int dtype, int device, int zero, lt_tensor *out);
char *lt_from_bytes(const void *data, const int64_t *shape, int dims, int dtype, int device, lt_tensor *out);
char *lt_copy_from_bytes(lt_tensor destination, const void *data, const int64_t *shape, int dims, int dtype);
char *lt_copy_to_bytes(lt_tensor t, void *out, size_t bytes);
char *lt_describe(lt_tensor t, int *dtype, int *device, int *dims, int64_t shape[8]);
char *lt_copy(lt_tensor destination, lt_tensor source);
char *lt_zero(lt_tensor t);
char *lt_leaf_view(lt_tensor flat, int64_t offset, const int64_t *shape, int dims, lt_tensor *out);
char *lt_detach(lt_tensor t, int requires_grad, lt_tensor *out);
char *lt_set_grad(lt_tensor leaf, lt_tensor grad);
int lt_requires_grad(lt_tensor t);
char *lt_grad(lt_tensor leaf, lt_tensor *out);
char *lt_backward(lt_tensor t, lt_tensor grad);
int lt_grad_mode(int enabled);
char *lt_fill_normal(lt_tensor t, double std, uint64_t seed);
char *lt_fill_uniform(lt_tensor t, double bound, uint64_t seed);

// later.cpp: values that are read once they are available. A later is freed only by lt_free_later.
char *lt_read_later(lt_tensor t, void **later);
char *lt_await(void *later, void *out, size_t bytes);
void lt_free_later(void *later);
char *lt_timestamp(int device, void **timestamp);  // of a GPU
char *lt_between(void *from, void *to, double *milliseconds);
void lt_free_timestamp(void *timestamp);
char *lt_nan_if_not_finite(lt_tensor total, lt_tensor t);

// ops.cpp, norm.cpp, rotary.cpp, gates.cpp, attention.cpp, crossentropy.cpp: differentiable operations. Where our own
// kernels exist, lt_set_fused(0) runs libtorch's operations instead; it returns what was set before.
int lt_set_fused(int on);
int lt_own_products(void);
char *lt_linear(lt_tensor x, lt_tensor w, lt_tensor bias, lt_tensor *out);  // products.cpp; bias may be NULL
char *lt_rms_norm(lt_tensor x, lt_tensor weight, double eps, lt_tensor *out);
char *lt_add_rms_norm(lt_tensor x, lt_tensor y, lt_tensor weight, double eps, lt_tensor *sum, lt_tensor *out);
char *lt_rotary(lt_tensor x, lt_tensor cos, lt_tensor sin, lt_tensor *out);
char *lt_gelu(lt_tensor x, lt_tensor *out);
char *lt_gelu_tanh(lt_tensor x, lt_tensor *out);
char *lt_swiglu(lt_tensor gate, lt_tensor up, lt_tensor *out);
char *lt_quick_gelu(lt_tensor x, lt_tensor *out);
char *lt_attention(lt_tensor q, lt_tensor k, lt_tensor v, const int64_t *starts, int samples, int causal,
                   lt_tensor *out);
char *lt_normalize(lt_tensor pixels, lt_tensor table, int dtype, lt_tensor *out);
char *lt_split(lt_tensor x, const int64_t *sizes, int parts, lt_tensor *out);
char *lt_patches(lt_tensor pixels, int64_t patch, lt_tensor *out);
char *lt_cross_entropy(lt_tensor hidden, lt_tensor weight, lt_tensor labels, int64_t chunk, lt_tensor *sum,
                       lt_tensor *each);

// decoder.cpp: halves of a decoder layer. bias and queries may be NULL; keep holds what backward would otherwise
// recompute. same is x, for what is added to it.
int lt_decoder_fits(lt_tensor x);
char *lt_decoder_attention(lt_tensor x, lt_tensor norm, lt_tensor weight, lt_tensor bias, lt_tensor cos, lt_tensor sin,
                           const int64_t *starts, const int64_t *queries, int samples, double eps, int64_t heads,
                           int64_t groups, int keep, lt_tensor *out, lt_tensor *same);
char *lt_decoder_mlp(lt_tensor x, lt_tensor y, lt_tensor o, lt_tensor norm, lt_tensor gate_up, lt_tensor down,
                     double eps, int keep, lt_tensor *out);

// few_rows.cpp, extents.cpp, decoder_step.cpp: generation, without a graph. Sample i has new positions, the rows
// borders[i] to borders[i+1] of a step, and lengths[i] in all, whose keys and values begin at row places[i] of an
// arena.
typedef struct {
  int count;               // of samples
  const int64_t *borders;  // [count+1]
  const int64_t *places, *lengths;
  lt_tensor rows;  // [T] i64, the arena's row of each new position; unused by lt_extents_attention
} lt_extents;
typedef struct {
  lt_tensor input_norm, qkv, qkv_bias, q_norm, k_norm;  // the last three may be NULL
  lt_tensor cos, sin, o, post_norm, gate_up, down;
  lt_tensor wanted;  // rows whose result is wanted; NULL for all
  double eps;
  int64_t heads, window;
} lt_layer;
char *lt_product(lt_tensor x, lt_tensor w, lt_tensor *out);
void lt_large_pages(lt_tensor t);
char *lt_put_rows(lt_tensor arena, lt_tensor rows, lt_tensor x);
char *lt_move_rows(lt_tensor arena, int64_t from, int64_t to, int64_t count);
char *lt_extents_attention(lt_tensor q, lt_tensor k, lt_tensor v, const lt_extents *extents, int64_t window,
                           lt_tensor *out);
char *lt_decoder_step(lt_tensor x, const lt_layer *layer, const lt_extents *extents, lt_tensor keys, lt_tensor values,
                      lt_tensor *out);

// window.cpp: attention within a sliding window.
char *lt_window_attention(lt_tensor q, lt_tensor k, lt_tensor v, const int64_t *starts, int samples, int64_t window,
                          lt_tensor *out);

// dropout.cpp: a mask that is a function of each sample's key.
char *lt_dropout(lt_tensor x, double p, const uint64_t *keys, const int64_t *starts, int samples, lt_tensor *out);

// optimizer.cpp: one pass over flat buffers.
char *lt_sum_squares_into(lt_tensor t, lt_tensor total);
char *lt_adamw(lt_tensor param, lt_tensor remainder, lt_tensor grad, lt_tensor m, lt_tensor v, lt_tensor total,
               double lr, double beta1, double beta2, double eps, double weight_decay, double clip, int64_t step,
               uint64_t seed, int64_t offset);
char *lt_merge_master(lt_tensor param, lt_tensor remainder, lt_tensor *out);
char *lt_split_master(lt_tensor master, lt_tensor param, lt_tensor remainder);

// store.cpp: a table that all processes of a job see. A value that is not there is NULL; what is there, the caller
// frees. One call at a time.
char *lt_store_open(const char *host, int port, int serve, int timeout_ms, lt_store *out, int *bound);
void lt_free_store(lt_store store);
char *lt_store_set(lt_store store, const char *key, const void *value, size_t size);
char *lt_store_look(lt_store store, const char *key, char **value, size_t *size);
char *lt_store_wait(lt_store store, const char *key, int timeout_ms, char **value, size_t *size);
char *lt_store_compare_set(lt_store store, const char *key, const void *expected, size_t expected_size,
                           const void *desired, size_t desired_size, char **value, size_t *size);
char *lt_store_add(lt_store store, const char *key, int64_t n, int64_t *sum);
char *lt_store_delete(lt_store store, const char *key, int *existed);

// comm.cpp: collectives. lt_wait frees the work. lt_async_error returns what the engine's own threads report, or NULL.
void lt_free_comm(lt_comm comm);
char *lt_all_reduce(lt_comm comm, lt_tensor t, lt_work *work);
char *lt_broadcast(lt_comm comm, lt_tensor t, int root, lt_work *work);
char *lt_all_gather(lt_comm comm, lt_tensor out, lt_tensor in, lt_work *work);
char *lt_reduce_scatter(lt_comm comm, lt_tensor out, lt_tensor in, lt_work *work);
char *lt_barrier(lt_comm comm, lt_work *work);
char *lt_wait(lt_work work);
char *lt_async_error(lt_comm comm);

// comm_gloo.cpp, comm_nccl.cpp: groups. path is of NCCL's library, "" for that of libtorch; rank 0 makes the id, which
// all connect by.
#define LT_NCCL_ID 128
char *lt_comm_gloo(lt_store store, const char *name, int rank, int world, const char *address, int connect_ms,
                   int timeout_ms, int stage, lt_comm *out);
char *lt_local_address(const char *towards, int port, char **out);
char *lt_nccl_version(const char *path, int *version);
char *lt_nccl_id(const char *path, char id[LT_NCCL_ID]);
char *lt_comm_nccl(const char *path, const char id[LT_NCCL_ID], int rank, int world, int device, int *of_others,
                   lt_comm *out);

// profile.cpp: the time of single operations. The names are in the events' block: one free releases both.
typedef struct {
  const char *name;
  int64_t start, duration;  // nanoseconds, the start since 1970
  int32_t card;             // -1: a call on the host
  int64_t lane;             // thread of the host, or stream of the GPU
  uint64_t correlation;     // the call's own, or that of the call that queued the GPU's work; 0 for none
} lt_event;
char *lt_profile_start(int cards);
char *lt_profile_stop(lt_event **events, int64_t *count);

// nvrtc.cpp, kernels.cpp: our own kernels on a GPU, compiled for it at run time. In tests a launcher runs them on the
// CPU instead.
typedef void (*lt_launcher)(const char *kernel, unsigned blocks, unsigned threads, void **args);
char *lt_open_nvrtc(const char *path, const char *builtins, int *major, int *minor);
char *lt_compile_kernels(const char *path, const char *source, const char *arch, void **cubin, size_t *size);
char *lt_compute_capability(int device, int *major, int *minor);
char *lt_card_name(int device, char *out, int length);
char *lt_load_kernels(int device, const void *cubin);
void lt_set_launcher(lt_launcher launcher);
void lt_switch_operation(int operation, int on);
const char *lt_operation_name(int operation);  // NULL after the last
char *lt_check_operation(int operation, int device, double worst[2]);
void lt_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#ifdef __cplusplus
}
#endif
