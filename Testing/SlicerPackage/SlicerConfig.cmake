# A stand-in for Slicer's CMake package: enough to configure, build and install an extension of scripted modules
# without Slicer.  cmake -S . -B build -DSlicer_DIR=Testing/SlicerPackage
# It compiles nothing and runs no test in Slicer; it checks what is listed and puts files where Slicer looks for them.

set(Slicer_VERSION 5.10.0)
set(Slicer_VERSION_MAJOR 5)
set(Slicer_VERSION_MINOR 10)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_OS stand-in)
set(Slicer_ARCHITECTURE any)

set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.10/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
set(Slicer_INSTALL_LIB_DIR lib/Slicer-5.10)
set(Slicer_INSTALL_SHARE_DIR share/Slicer-5.10)

set(Slicer_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR})
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/ExtensionConfig.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake)
