// Stand-ins for the headers of gloo, which PyTorch's wheels leave out. libtorch's ProcessGroupGloo.hpp includes five of
// them; this is all that it needs to know. Nothing of gloo is called or defined here: its functions are libtorch's.
// What stands behind a pointer stays incomplete, a base class or what a header's inline code destroys does not.
//
// The compiler finds this folder without a flag: Go passes -I with the folder of the package that it compiles.
#pragma once
#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace gloo {

namespace transport {

class Device;

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = 0;
};

}  // namespace transport

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace rendezvous {

class Store {
 public:
  virtual ~Store();
  virtual void set(const std::string &key, const std::vector<char> &value) = 0;
  virtual std::vector<char> get(const std::string &key) = 0;
  virtual void wait(const std::vector<std::string> &keys) = 0;
  virtual void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &timeout) = 0;
};

}  // namespace rendezvous

}  // namespace gloo
