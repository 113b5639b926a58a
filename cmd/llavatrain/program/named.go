package program

import (
	"github.com/spf13/pflag"

	"github.com/llavatrain/llavatrain/train/answer"
)

// NameFolders adds the flags for folders that replace those that a model names: LLaVA folders come with paths of the
// machine that they were made on.
func NameFolders(f *pflag.FlagSet, named *answer.Named) {
	f.StringVar(
		&named.Vision,
		"vision",
		"",
		"`FOLDER` or id of the vision tower, in place of the one that the model names",
	)
	f.StringVar(&named.Base, "base", "",
		"`FOLDER` or id of the language model that adapters belong to, in place of the one that they name")
	f.StringVar(&named.Template, "template", "",
		"`NAME` of the conversation template; default: the one that the model was trained with")
}

// NameDtype adds the flag for the dtype that a model answers in.
func NameDtype(f *pflag.FlagSet, named *answer.Named) {
	f.StringVar(&named.Dtype, "dtype", "auto",
		"of the weights: auto, fp32 or bf16; auto is bf16 on a GPU, and fp32 on a CPU, where bf16 is less exact "+
			"and may be faster")
}
