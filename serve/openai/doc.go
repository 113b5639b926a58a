// Package openai answers requests of OpenAI's chat API, with the additions that vLLM made to it, and tells Prometheus
// how much was done.
//
//  1. A request is read: messages with pictures as data URIs, and how tokens are chosen. What cannot be done is refused
//     by the name of its field; fields that are not known are left out of account.
//  2. The model's engine answers.
//  3. The answer is sent whole, or as events while it grows.
package openai
