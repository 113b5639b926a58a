# Source this file (". scripts/env.sh") to use plain go commands and editors: it finds libtorch and sets cgo's flags.
# gotch's link line names the CUDA libraries; empty archives, first in the search path, satisfy it on machines without
# them (the CUDA half of libtorch is opened at run time if it is installed, see model/torch/engine.go).

_llavatrain_env() {
	local here cache glue torch minor name
	here=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)
	torch=$("$here/libtorch.sh") || return 1
	minor=$(sed -n 's/^torch==\([0-9]*\.[0-9]*\).*/\1/p' "$here/libtorch.lock")
	cache=${LLAVATRAIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llavatrain}
	glue=$cache/glue-$minor
	mkdir -p "$glue/stubs"
	cmp -s "$here/compat.h" "$glue/compat.h" || cp "$here/compat.h" "$glue/compat.h"
	for name in torch cuda cudart cublas cudnn caffe2_nvrtc nvrtc-builtins nvrtc nvToolsExt c10_cuda torch_cuda; do
		[ -f "$glue/stubs/lib$name.a" ] || ar rcs "$glue/stubs/lib$name.a" || return 1
	done
	export LIBTORCH="$torch"
	export CGO_ENABLED=1
	# Without the checkout's folder in what is compiled, Go's build cache serves every clone.
	case " ${GOFLAGS:-} " in *" -trimpath "*) ;; *) export GOFLAGS="${GOFLAGS:+$GOFLAGS }-trimpath" ;; esac
	export CGO_CXXFLAGS="-O2 -w -include $glue/compat.h -I$torch/include -I$torch/include/torch/csrc/api/include"
	export CGO_LDFLAGS="-L$glue/stubs -L$torch/lib -Wl,-rpath,$torch/lib"
}

for _tool in go g++ ar; do
	command -v $_tool >/dev/null || {
		echo "llavatrain set-up: $_tool is missing" \
			"(Go 1.26 from go.dev/dl; g++ and ar: sudo apt-get install g++ binutils)" >&2
		return 1 2>/dev/null || exit 1
	}
done
_llavatrain_env || { return 1 2>/dev/null || exit 1; }
