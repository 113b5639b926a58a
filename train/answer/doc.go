// Package answer asks a trained model questions about images: it finds the model that a path stands for, opens it, and
// turns questions into prompts and tokens into text.
//
//  1. [Named] names a model; Locate finds it, and [OpenAnswerer] opens it.
//  2. An [Answerer] answers one question, a [Survey] asks it a list of them, and a [Service] any that come. The last
//     two use the engine of package model.
//  3. [Questionnaire] is a survey of a question file, with answers in LLaVA's form; `benchmark run` makes surveys of
//     benchmarks.
package answer
